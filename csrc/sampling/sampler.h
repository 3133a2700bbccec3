// Chooses the next token of one sequence: greedily or at random.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sampling/allowed_tokens.h"
#include "sampling/generation_config.h"
#include "sampling/logits_processors.h"
#include "sampling/random.h"
#include "sampling/warpers.h"

namespace t5g {

struct SampledToken {
  int32_t id;
  // The model's own logit, before any penalty, ban or temperature. Less the row's log-sum-exp it is the model's own
  // log-probability, whose sum over a sequence is what scoring that sequence gives.
  float logit;
};

// One per sequence. Its random numbers depend on seed and sequence alone, not on what else is in a batch.
class Sampler {
 public:
  // prompt_length: ids in the decoder before generation (start token and prefix). seed: resolve_seed(config).
  // sequence: index among the sequences of one source. more: see LogitsProcessors.
  Sampler(const GenerationConfig& config, int64_t prompt_length, std::span<const int32_t> source_ids, uint64_t seed,
          int32_t sequence = 0, std::span<const sampling::Processor> more = {});

  // Whether it may need whole rows of logits.
  bool needs_all() const { return config_.samples() && config_.top_k == 0; }
  // Puts its question about the token after `ids`, the decoder's whole sequence so far, prompt included. all: memory
  // for a row where it may need one. What `allowed` has must stay until next().
  void ask(std::span<const int32_t> ids, const Allowed& allowed, std::span<float> all, Selection& selection) const;
  // answer: to that question; changed in place. None where this sequence is an alternative that there is not. Throws
  // Error when every token is banned.
  std::optional<SampledToken> next(Selection& answer, std::span<const int32_t> ids);

 private:
  bool is_branch(std::span<const int32_t> ids) const;
  void collect(Selection& answer, std::span<const int32_t> ids);
  void collect_row(std::span<const float> row);
  float value_of(int32_t id, const Selection& answer) const;

  GenerationConfig config_;
  int64_t prompt_length_;
  int32_t sequence_;
  sampling::LogitsProcessors processors_;
  sampling::RandomStream random_;
  sampling::Candidates candidates_;
};

}  // namespace t5g
