// Walks the text by characters, and writes as numbers what is none or would do something.
#include "base/printable.h"

#include <cstdint>

#include "base/utf8.h"

namespace t5g {
namespace {

// Characters that a terminal or a log would act upon: C0, DEL, C1, and the line and paragraph separators.
bool is_control(std::string_view sequence) {
  const auto lead = static_cast<uint8_t>(sequence[0]);
  if (lead < 0x20 || lead == 0x7f) return true;
  if (lead == 0xc2) return static_cast<uint8_t>(sequence[1]) < 0xa0;
  return sequence == "\xe2\x80\xa8" || sequence == "\xe2\x80\xa9";
}

}  // namespace

std::string printable(std::string_view text, size_t max_bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    if (out.size() >= max_bytes) return out + "...";
    const size_t length = utf8_character_size(text);
    const std::string_view sequence = text.substr(0, length == 0 ? 1 : length);
    if (length != 0 && !is_control(sequence)) {
      out += sequence;
    } else {
      for (const char c : sequence) {
        const auto byte = static_cast<uint8_t>(c);
        out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
      }
    }
    text.remove_prefix(sequence.size());
  }
  return out;
}

}  // namespace t5g
