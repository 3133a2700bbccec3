// tokenizer.ggml.* and tokenizer.t5g.* to Vocabulary.
#include "runtime/load_tokenizer.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace t5g {
namespace {

constexpr std::string_view kAddedIds = "tokenizer.t5g.added_token_ids";
constexpr std::string_view kAddedFlags = "tokenizer.t5g.added_token_flags";

// Whether the vocabulary is one that t5g-convert has made up. Files that do not say so give it away: they have no piece
// for any text but single bytes and the space.
bool is_placeholder(const GgufFile& file, const Vocabulary& vocabulary) {
  if (const auto stated = file.find_bool("tokenizer.t5g.placeholder")) return *stated;
  for (size_t id = 0; id < vocabulary.pieces.size(); ++id) {
    const auto type = static_cast<PieceType>(vocabulary.types[id]);
    if ((type == PieceType::kNormal || type == PieceType::kUserDefined) && vocabulary.pieces[id] != kSpaceMark)
      return false;
  }
  return true;
}

// What sources begin or end with: the ids of `key`, or bos or eos alone, where `flag` says so.
std::vector<int32_t> added_around(const GgufFile& file, std::string_view key, const std::string& flag, int64_t id) {
  if (auto ids = file.find_i32_array(key)) return *ids;
  if (!file.find_bool("tokenizer.ggml." + flag).value_or(false)) return {};
  return {static_cast<int32_t>(id)};
}

std::vector<AddedToken> added_tokens(const GgufFile& file) {
  std::vector<AddedToken> tokens;
  if (!file.has_key(kAddedIds)) return tokens;
  const std::vector<int32_t> ids = file.get_i32_array(kAddedIds);
  const std::vector<uint32_t> flags = file.get_u32_array(kAddedFlags);
  if (ids.size() != flags.size()) {
    file.fail_key(kAddedFlags, "has " + std::to_string(flags.size()) + " values for " + std::to_string(ids.size()) +
                                   " added tokens. The file is damaged: convert it again.");
  }
  for (size_t i = 0; i < ids.size(); ++i) tokens.push_back({ids[i], flags[i]});
  return tokens;
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const GgufFile& file, const Config& config) {
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  if (const std::string_view model = file.get_string(kModel); model != "llama") {
    file.fail_key(kModel, "is '" + std::string(model) + "', expected 'llama' (SentencePiece BPE), as T5Gemma has it.");
  }
  const std::vector<std::string_view> pieces = file.get_string_array("tokenizer.ggml.tokens");
  const std::vector<float> scores = file.get_f32_array("tokenizer.ggml.scores");
  const std::vector<int32_t> types = file.get_i32_array("tokenizer.ggml.token_type");
  // One tokenizer serves both sides.
  const int n_rows = std::max(config.encoder.vocab_size, config.decoder.vocab_size);
  if (pieces.size() != static_cast<size_t>(n_rows)) {
    file.fail_key("tokenizer.ggml.tokens", "has " + std::to_string(pieces.size()) + " pieces, but the model has " +
                                               std::to_string(n_rows) + " embeddings.");
  }
  Vocabulary vocabulary;
  vocabulary.pieces = pieces;
  vocabulary.scores = scores;
  vocabulary.types = types;
  vocabulary.bos_id = file.get_u32("tokenizer.ggml.bos_token_id");
  vocabulary.eos_id = file.get_u32("tokenizer.ggml.eos_token_id");
  vocabulary.unk_id = file.get_u32("tokenizer.ggml.unknown_token_id");
  vocabulary.pad_id = file.get_u32("tokenizer.ggml.padding_token_id");
  const std::vector<int32_t> prefix =
      added_around(file, "tokenizer.t5g.prefix_token_ids", "add_bos_token", vocabulary.bos_id);
  const std::vector<int32_t> suffix =
      added_around(file, "tokenizer.t5g.suffix_token_ids", "add_eos_token", vocabulary.eos_id);
  vocabulary.prefix_ids = prefix;
  vocabulary.suffix_ids = suffix;
  const std::vector<AddedToken> added = added_tokens(file);
  if (file.has_key(kAddedIds)) vocabulary.added_tokens = added;
  const std::vector<std::string_view> merges =
      file.find_string_array("tokenizer.ggml.merges").value_or(std::vector<std::string_view>());
  vocabulary.merges = merges;
  if (types.size() == pieces.size()) vocabulary.is_placeholder = is_placeholder(file, vocabulary);
  return std::make_shared<const Tokenizer>(vocabulary, file.name());
}

}  // namespace t5g
