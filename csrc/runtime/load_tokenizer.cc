// tokenizer.ggml.* to Vocabulary.
#include "runtime/load_tokenizer.h"

#include <string>
#include <string_view>
#include <vector>

namespace t5g {

std::unique_ptr<const Tokenizer> load_tokenizer(const GgufFile& file, const Config& config) {
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  if (const std::string_view model = file.get_string(kModel); model != "llama") {
    file.fail_key(kModel, "is '" + std::string(model) + "', expected 'llama' (SentencePiece BPE), as T5Gemma has it.");
  }
  const std::vector<std::string_view> pieces = file.get_string_array("tokenizer.ggml.tokens");
  const std::vector<float> scores = file.get_f32_array("tokenizer.ggml.scores");
  const std::vector<int32_t> types = file.get_i32_array("tokenizer.ggml.token_type");
  if (pieces.size() != static_cast<size_t>(config.vocab_size)) {
    file.fail_key("tokenizer.ggml.tokens", "has " + std::to_string(pieces.size()) + " pieces, but the model has " +
                                               std::to_string(config.vocab_size) + " embeddings.");
  }
  Vocabulary vocabulary;
  vocabulary.pieces = pieces;
  vocabulary.scores = scores;
  vocabulary.types = types;
  vocabulary.bos_id = file.get_u32("tokenizer.ggml.bos_token_id");
  vocabulary.eos_id = file.get_u32("tokenizer.ggml.eos_token_id");
  vocabulary.unk_id = file.get_u32("tokenizer.ggml.unknown_token_id");
  vocabulary.pad_id = file.get_u32("tokenizer.ggml.padding_token_id");
  vocabulary.add_bos = file.get_bool("tokenizer.ggml.add_bos_token");
  return std::make_unique<const Tokenizer>(vocabulary, file.name());
}

}  // namespace t5g
