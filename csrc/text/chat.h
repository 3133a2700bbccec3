// The prompt of the instruction-tuned T5Gemma: the one chat template there is, with no template language.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace t5g {

struct ChatMessage {
  std::string role;  // "user"; "model" or "assistant"
  std::string content;
};

// The ids of `<start_of_turn>user\n{content}<end_of_turn>\n` for each message, the model's turns spelled "model", and
// of
// `<start_of_turn>model\n` at the end, without bos. White space around a content is dropped. No content can spell a
// marker: they are ids here, and text is encoded without matching any.
// Throws InvalidArgument unless roles alternate, beginning with "user", and when the vocabulary lacks the markers.
std::vector<int32_t> chat_prompt(const Tokenizer& tokenizer, std::span<const ChatMessage> messages);

// Whether a chat template, as a checkpoint writes it, is the one that chat_prompt() follows, and then whether it begins
// with bos; none for another one.
std::optional<bool> known_chat_template(std::string_view text);

}  // namespace t5g
