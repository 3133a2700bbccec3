// One sequence that picks its next token by itself, greedily or at random, and what it knows ahead: tokens that its
// constraint forces, or a draft that greedy decoding checks. Both go through the decoder in one step.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/drafter.h"
#include "runtime/generation_job.h"
#include "runtime/kept_logprob.h"
#include "sampling/allowed_tokens.h"
#include "sampling/sampler.h"

namespace t5g {

class Sequence {
 public:
  // index: among the sequences of one source. What the input refers to, and source_ids, must outlive it.
  Sequence(const JobInput& input, std::span<const int32_t> source_ids, int32_t index);

  bool done() const { return done_; }
  int64_t n_generated() const { return static_cast<int64_t>(ids_.size() - n_prompt_); }
  // Whether the next step may need memory for a row of logits.
  bool needs_logits() const { return !done_ && sampler_.needs_all(); }
  // Whether think() takes time in which the model can work.
  bool thinks_beside() const { return !done_ && allowed_tokens_ != nullptr && config_.constraint->runs_beside(); }

  // All tokens that the cache does not have yet (the prompt at first, then the newest one), and those known ahead.
  Model::Step step(const SourceCache& source, int64_t max_draft, std::span<float> logits);
  // Between step() and ask(): what the constraint says of the next tokens.
  void think();
  // Puts the questions of the step.
  void ask();
  // After the step.
  void take();

  std::string take_text() { return text_.take_fresh(); }
  std::vector<FreshToken> take_tokens() { return std::exchange(fresh_, {}); }
  // None for an alternative that there is not.
  std::optional<GeneratedSequence> finish();

 private:
  void look_ahead(int64_t max_draft);
  void draft(size_t most);
  void accept(Selection& next);
  void end(FinishReason reason);
  std::span<const int32_t> generated() const { return std::span(ids_).subspan(n_prompt_); }

  const GenerationConfig& config_;
  const int32_t vocab_size_;
  const std::span<const int32_t> source_ids_;
  std::vector<int32_t> ids_;  // prompt and generated tokens
  const size_t n_prompt_;
  KvCache cache_;
  Sampler sampler_;
  const std::unique_ptr<AllowedTokens> allowed_tokens_;  // null: everything is allowed
  const bool drafts_;
  Drafter drafter_;
  // The step in hand.
  std::vector<int32_t> ahead_;  // tokens known, or thought to be known
  bool is_draft_ = false;
  std::vector<int32_t> ahead_ids_;  // ids_ and those
  std::vector<Allowed> allowed_;    // after the newest token and each of those,
  std::vector<Selection> next_;     // and what is asked there
  std::span<float> logits_;
  SequenceText text_;
  std::shared_ptr<KeptLogprob> logprob_;
  std::vector<std::vector<ScoredToken>> top_;  // of each generated token
  const bool streams_;
  std::vector<FreshToken> fresh_;  // that nobody has taken
  FinishReason reason_ = FinishReason::kCancelled;
  bool done_ = false;
  bool is_absent_ = false;
};

}  // namespace t5g
