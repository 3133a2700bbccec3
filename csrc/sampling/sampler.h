// Chooses the next token of one sequence: greedily or at random.
#pragma once

#include <cstdint>
#include <span>

#include "sampling/allowed_tokens.h"
#include "sampling/generation_config.h"
#include "sampling/processors.h"
#include "sampling/random.h"
#include "sampling/warpers.h"

namespace t5g {

struct SampledToken {
  int32_t id;
  // The model's own log-probability: log_softmax of the logits before any penalty, ban or temperature. The sum over a
  // sequence is therefore what scoring that sequence gives.
  float logprob;
};

// One per sequence. Its random numbers depend on seed and sequence alone, not on what else is in a batch.
class Sampler {
 public:
  // prompt_length: ids in the decoder before generation (start token and prefix). seed: resolve_seed(config).
  // sequence: index among the num_return_sequences of one source. allowed: may be null; must outlive the sampler.
  Sampler(const GenerationConfig& config, int64_t prompt_length, uint64_t seed, int32_t sequence = 0,
          AllowedTokens* allowed = nullptr);

  // Whether it needs whole rows of logits.
  bool needs_all() const;
  // Puts its question about the token after `ids`, the decoder's whole sequence so far, prompt included. all: memory
  // for a row where it needs one.
  void ask(std::span<const int32_t> ids, std::span<float> all, Selection& selection) const;
  // answer: to that question; changed in place. Throws Error when every token is banned.
  SampledToken next(Selection& answer, std::span<const int32_t> ids);

 private:
  void collect(Selection& answer, std::span<const int32_t> ids);
  float value_of(int32_t id, const Selection& answer) const;

  GenerationConfig config_;
  sampling::LogitsProcessors processors_;
  sampling::RandomStream random_;
  sampling::Candidates candidates_;
};

}  // namespace t5g
