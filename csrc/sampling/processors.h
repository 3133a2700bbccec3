// Steps that change a row of logits in place, before a token is chosen: penalties and bans.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sampling/allowed_tokens.h"
#include "sampling/generation_config.h"

namespace t5g::sampling {

// The value that a step replaced at one token.
struct ReplacedLogit {
  int32_t token;
  float value;
};

// When no token is left to choose from.
[[noreturn]] void throw_all_banned();

// What a step sees. The ids are the decoder's whole sequence: start token, prefix and generated tokens.
struct ProcessorInput {
  const GenerationConfig& config;
  std::span<const int32_t> ids;
  int64_t n_generated;
  std::span<float> row;                  // [V], changed in place
  std::vector<ReplacedLogit>& replaced;  // every change but a ban (-infinity) is recorded here
};

// The steps that a config asks for, in Hugging Face's order.
class LogitsProcessors {
 public:
  // prompt_length: how many ids stood in the decoder before generation began. allowed: may be null.
  LogitsProcessors(const GenerationConfig& config, int64_t prompt_length, AllowedTokens* allowed)
      : config_(config), prompt_length_(prompt_length), allowed_(allowed) {}

  void apply(std::span<float> row, std::span<const int32_t> ids);

  // The value at a token that is not banned, as it was before the last apply() on this row.
  float original(std::span<const float> row, int32_t token) const;

 private:
  GenerationConfig config_;
  int64_t prompt_length_;
  AllowedTokens* allowed_;
  std::vector<ReplacedLogit> replaced_;
};

}  // namespace t5g::sampling
