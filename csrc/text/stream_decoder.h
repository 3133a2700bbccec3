// Token ids to text, one at a time: what comes out is always whole characters.
#pragma once

#include <cstdint>
#include <string>

namespace t5g {

class Tokenizer;

class StreamDecoder {
 public:
  // Keeps a reference to the tokenizer.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

  // The text that this token completes; may be empty. Byte pieces are held back until another piece ends their run,
  // because only the whole run decides: it becomes the characters it spells or, as in Hugging Face's decoder, one
  // U+FFFD for each byte when any of it is not UTF-8. Throws InvalidArgument for an id outside the vocabulary.
  // Placeholders (see Tokenizer) have no text: always empty.
  std::string push(int32_t id);

  // What is still held back. The decoder is then as new.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::string bytes_;
};

}  // namespace t5g
