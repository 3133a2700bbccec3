// Sampling: each sequence picks its next token by itself.
#include <algorithm>
#include <string>
#include <utility>

#include "runtime/generation_job.h"
#include "sampling/sampler.h"

namespace t5g {
namespace {

class Sequence {
 public:
  Sequence(const JobInput& input, int32_t index)
      : config_(input.config),
        cache_(input.model.new_cache()),
        sampler_(input.config, static_cast<int64_t>(input.prompt_ids.size()), input.seed, index),
        text_(input.model.tokenizer(), input.text),
        ids_(input.prompt_ids),
        n_prompt_(input.prompt_ids.size()) {}

  bool done() const { return done_; }
  int64_t n_generated() const { return static_cast<int64_t>(ids_.size() - n_prompt_); }

  bool needs_logits() const { return !done_ && sampler_.needs_all(); }

  // All tokens that the cache does not have yet: the prompt at first, then the newest one. logits: a row where needed.
  Model::Step step(const SourceCache& source, std::span<float> logits) {
    sampler_.ask(ids_, logits, next_);
    const auto cached = static_cast<size_t>(cache_.length());
    return {&source, &cache_, std::span<const int32_t>(ids_).subspan(cached), {&next_, 1}};
  }

  void take() {
    const SampledToken token = sampler_.next(next_, ids_);
    ids_.push_back(token.id);
    result_.logprob += static_cast<double>(token.logprob);
    text_.push(token.id);
    if (text_.stopped() || config_.is_eos(token.id)) {
      end(FinishReason::kStop);
    } else if (n_generated() >= config_.max_new_tokens) {
      end(FinishReason::kLength);
    }
  }

  std::string take_text() { return text_.take_fresh(); }

  GeneratedSequence finish() {
    if (!done_) end(FinishReason::kCancelled);
    result_.text = text_.take();
    result_.token_ids.assign(ids_.begin() + static_cast<std::ptrdiff_t>(n_prompt_), ids_.end());
    return std::move(result_);
  }

 private:
  void end(FinishReason reason) {
    text_.end();
    result_.finish_reason = text_.stopped() ? FinishReason::kStop : reason;
    cache_ = KvCache(cache_.pool());  // its pages serve the next sequence
    done_ = true;
  }

  const GenerationConfig& config_;
  KvCache cache_;
  Sampler sampler_;
  SequenceText text_;
  std::vector<int32_t> ids_;
  const size_t n_prompt_;
  Selection next_;
  GeneratedSequence result_;
  bool done_ = false;
};

class SamplingJob final : public GenerationJob {
 public:
  explicit SamplingJob(JobInput input) : source_(std::move(input.source)) {
    for (int32_t i = 0; i < input.config.num_return_sequences; ++i) sequences_.emplace_back(input, i);
  }

  int64_t n_logit_rows() const override {
    return std::count_if(sequences_.begin(), sequences_.end(), [](const Sequence& s) { return s.needs_logits(); });
  }

  void add_steps(std::vector<Model::Step>& steps, int64_t, std::span<float> logits) override {
    const int64_t rows = n_logit_rows();
    const size_t cols = rows > 0 ? logits.size() / static_cast<size_t>(rows) : 0;
    for (Sequence& sequence : sequences_) {
      if (sequence.done()) continue;
      steps.push_back(sequence.step(*source_, logits.first(cols)));
      logits = logits.subspan(cols);
    }
  }

  void take() override {
    for (Sequence& sequence : sequences_) {
      if (!sequence.done()) sequence.take();
    }
  }

  bool done() const override {
    for (const Sequence& sequence : sequences_) {
      if (!sequence.done()) return false;
    }
    return true;
  }

  std::string take_text(size_t sequence) override { return sequences_[sequence].take_text(); }

  std::vector<GeneratedSequence> finish() override {
    std::vector<GeneratedSequence> results;
    for (Sequence& sequence : sequences_) results.push_back(sequence.finish());
    return results;
  }

  int64_t n_generated() const override {
    int64_t n = 0;
    for (const Sequence& sequence : sequences_) n += sequence.n_generated();
    return n;
  }

  int64_t max_rows() const override { return static_cast<int64_t>(sequences_.size()); }

 private:
  const std::shared_ptr<const SourceCache> source_;
  std::vector<Sequence> sequences_;
};

}  // namespace

std::unique_ptr<GenerationJob> make_sampling_job(JobInput input) {
  return std::make_unique<SamplingJob>(std::move(input));
}

}  // namespace t5g
