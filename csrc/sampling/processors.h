// Steps that change logits before a token is chosen: penalties, biases and bans. Each says which tokens it may change,
// so that only their logits need be known by themselves; whoever chooses among the others is told the largest of those.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "sampling/generation_config.h"

namespace t5g::sampling {

// The logit of a token that may not come.
inline constexpr float kBanned = -std::numeric_limits<float>::infinity();

// A row of logits: all of it, or the values of some tokens.
class LogitRow {
 public:
  explicit LogitRow(std::span<float> all) : values_(all) {}
  // ids: ascending, of the values. is_all: whether no other token may be chosen.
  LogitRow(std::span<const int32_t> ids, std::span<float> values, bool is_all)
      : ids_(ids), values_(values), is_sparse_(true), is_all_(is_all) {}

  // A token's place; null for one outside the vocabulary of a whole row, or that may not be chosen anyway. Throws Error
  // for one that is not among the tokens: a step would change what it did not say it touches.
  float* find(int32_t token) const;

 private:
  std::span<const int32_t> ids_;
  std::span<float> values_;
  bool is_sparse_ = false;
  bool is_all_ = false;
};

// The value that a step replaced at one token.
struct ReplacedLogit {
  int32_t token;
  float value;
};

// The tokens of a source, for steps that look at them.
struct SourceTokens {
  std::vector<int32_t> ids;
  std::vector<int32_t> distinct;  // ascending

  // Empty where no step of the config looks.
  SourceTokens(const GenerationConfig& config, std::span<const int32_t> source_ids);
};

// What a step is told of the sequence. The ids are the decoder's whole one: start token, prefix and generated tokens.
struct SequenceState {
  const GenerationConfig& config;
  const SourceTokens& source;
  std::span<const int32_t> ids;
  int64_t n_generated;
};

// One step.
struct Processor {
  bool (*is_used)(const GenerationConfig& config);
  // Adds the tokens whose logits apply() may change, in any order, repeated or not.
  void (*touches)(const SequenceState& state, std::vector<int32_t>& tokens);
  // Changes them. Every change but a ban (-infinity) is recorded in `replaced`, with the value that it replaced.
  void (*apply)(const SequenceState& state, const LogitRow& row, std::vector<ReplacedLogit>& replaced);
};

// All steps, in Hugging Face's order.
std::span<const Processor> processors();

// Whether the next token is forced, so that all others are banned whatever is said of them: -1 where it is not.
int32_t forced_token(const GenerationConfig& config, std::span<const int32_t> ids);

}  // namespace t5g::sampling
