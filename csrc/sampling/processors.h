// Steps that change logits before a token is chosen: penalties and bans. Each says which tokens it may change, so that
// only their logits need be known by themselves; whoever chooses among the others is told the largest of those.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/selection.h"
#include "sampling/allowed_tokens.h"
#include "sampling/generation_config.h"

namespace t5g::sampling {

// When no token is left to choose from.
[[noreturn]] void throw_all_banned();

// A row of logits: all of it, or the values of some tokens.
class LogitRow {
 public:
  explicit LogitRow(std::span<float> all) : values_(all) {}
  // ids: ascending, of the values.
  LogitRow(std::span<const int32_t> ids, std::span<float> values) : ids_(ids), values_(values), is_sparse_(true) {}

  // A token's place; null for one outside the vocabulary of a whole row. Throws Error for one that is not among the
  // tokens: a step would change what it did not say it touches.
  float* find(int32_t token) const;

 private:
  std::span<const int32_t> ids_;
  std::span<float> values_;
  bool is_sparse_ = false;
};

// The value that a step replaced at one token.
struct ReplacedLogit {
  int32_t token;
  float value;
};

// What a step is told of the sequence. The ids are the decoder's whole one: start token, prefix and generated tokens.
struct SequenceState {
  const GenerationConfig& config;
  std::span<const int32_t> ids;
  int64_t n_generated;
};

// One step.
struct Processor {
  bool (*is_used)(const GenerationConfig& config);
  // Adds the tokens whose logits apply() may change, in any order, repeated or not.
  void (*touches)(const SequenceState& state, std::vector<int32_t>& tokens);
  // Changes them. Every change but a ban (-infinity) is recorded in `replaced`.
  void (*apply)(const SequenceState& state, const LogitRow& row, std::vector<ReplacedLogit>& replaced);
};

// All steps, in Hugging Face's order.
std::span<const Processor> processors();

// The steps that a config asks for.
class LogitsProcessors {
 public:
  // prompt_length: how many ids stood in the decoder before generation began. allowed: may be null. more: steps that
  // come after those of the config.
  LogitsProcessors(const GenerationConfig& config, int64_t prompt_length, AllowedTokens* allowed,
                   std::span<const Processor> more = {});

  // Whether every logit may be changed, so that whole rows are needed.
  bool touch_all() const { return allowed_ != nullptr; }
  // The tokens that may be changed after `ids`, ascending and without repeats.
  void touched(std::span<const int32_t> ids, std::vector<int32_t>& tokens) const;

  // On a whole row, and on the values of the tokens that touched() gave for these ids.
  void apply(std::span<float> row, std::span<const int32_t> ids);
  void apply(Selection& answer, std::span<const int32_t> ids);

  // The value of a token that is not banned, as it was before the last apply(); `value` is what it is now.
  float original(int32_t token, float value) const;

 private:
  SequenceState state(std::span<const int32_t> ids) const;
  void run(const LogitRow& row, std::span<const int32_t> ids);

  GenerationConfig config_;
  int64_t prompt_length_;
  AllowedTokens* allowed_;
  std::vector<Processor> steps_;  // in use
  std::vector<ReplacedLogit> replaced_;
};

// The likeliest token after processors, and the model's own value of it.
struct BestToken {
  int32_t id;
  float original;
};
// answer: to a question for touched() and the one best other; changed in place. Throws Error when all are banned.
BestToken choose_best(LogitsProcessors& processors, Selection& answer, std::span<const int32_t> ids);

}  // namespace t5g::sampling
