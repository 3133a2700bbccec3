// A mask from outside the library of options: a grammar, a list of choices.
#pragma once

#include <cstdint>
#include <span>

namespace t5g {

class AllowedTokens {
 public:
  virtual ~AllowedTokens() = default;

  // Sets the logits of tokens that may not follow `generated` to -infinity and leaves all others as they are.
  // generated: the ids after the decoder's prompt. Beams call it for different sequences in turn, so an implementation
  // that keeps state keys it by the ids. Throwing ends the generate call.
  virtual void mask(std::span<const int32_t> generated, std::span<float> logits) = 0;
};

}  // namespace t5g
