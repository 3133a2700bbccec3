// The decoder's one state is the run of byte pieces whose end has not been seen.
#include "text/stream_decoder.h"

#include <string_view>
#include <utility>

#include "base/utf8.h"
#include "text/tokenizer.h"

namespace t5g {

std::string StreamDecoder::push(int32_t id) {
  if (tokenizer_.is_placeholder()) return {};
  if (skip_special_tokens_ && tokenizer_.is_special(id)) return {};
  if (const auto byte = tokenizer_.byte(id)) {
    bytes_ += static_cast<char>(*byte);
    return {};
  }
  std::string text = finish();
  std::string_view piece = tokenizer_.piece(id);
  while (!piece.empty()) {
    const size_t spaces = std::min(piece.find(kSpaceMark), piece.size());
    text += piece.substr(0, spaces);
    piece.remove_prefix(spaces);
    if (!piece.empty()) {
      text += ' ';
      piece.remove_prefix(kSpaceMark.size());
    }
  }
  return text;
}

std::string StreamDecoder::finish() {
  const std::string run = std::exchange(bytes_, {});
  if (is_utf8(run)) return run;
  std::string text;
  for (size_t i = 0; i < run.size(); ++i) text += kReplacementCharacter;
  return text;
}

}  // namespace t5g
