// The steps that a config asks for, from the question about a row to the logits that a token is chosen from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/selection.h"
#include "sampling/allowed_tokens.h"
#include "sampling/generation_config.h"
#include "sampling/processors.h"

namespace t5g::sampling {

// When no token is left to choose from.
[[noreturn]] void throw_all_banned();

class LogitsProcessors {
 public:
  // prompt_length: how many ids stood in the decoder before generation began. more: steps that come after those of the
  // config.
  LogitsProcessors(const GenerationConfig& config, int64_t prompt_length, std::span<const int32_t> source_ids,
                   std::span<const Processor> more = {});

  // The tokens that may be changed after `ids`, ascending and without repeats.
  void touched(std::span<const int32_t> ids, std::vector<int32_t>& tokens) const;

  // Adds to a question that was cleared what the steps need to know of the row after `ids`, and the n_best others; or,
  // where few tokens are allowed, these alone. What `allowed` has must stay until the answer was applied.
  void ask(std::span<const int32_t> ids, const Allowed& allowed, size_t n_best, Selection& question) const;
  // Whether it will be these few alone.
  bool asks_few(std::span<const int32_t> ids, const Allowed& allowed) const;

  // On a whole row.
  void apply(std::span<float> row, std::span<const int32_t> ids);
  // On what was asked for: the whole row, or the values of some tokens.
  void apply(Selection& answer, std::span<const int32_t> ids);

  // The value of a token that is not banned, as it was before the last apply(); `value` is what it is now.
  float original(int32_t token, float value) const;

 private:
  SequenceState state(std::span<const int32_t> ids) const;
  void run(const LogitRow& row, std::span<const int32_t> ids);

  GenerationConfig config_;
  int64_t prompt_length_;
  SourceTokens source_;
  std::vector<Processor> steps_;  // in use
  std::vector<ReplacedLogit> replaced_;
};

// The likeliest token after processors, and the model's own value of it.
struct BestToken {
  int32_t id;
  float original;
};
// answer: to a question about the one best other; changed in place. Throws Error when all are banned.
BestToken choose_best(LogitsProcessors& processors, Selection& answer, std::span<const int32_t> ids);

// The tokens of an answer that are not banned, after apply(), in the order of better().
void rank(const Selection& answer, std::vector<ScoredToken>& tokens);

}  // namespace t5g::sampling
