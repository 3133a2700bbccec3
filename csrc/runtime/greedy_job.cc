// Greedy decoding: always the likeliest token. It asks the model for that token alone (and for those that a processor
// touches), and drafts several ahead where the source or the text itself suggests how it goes on; the tokens are those
// of one step after the other.
#include <algorithm>
#include <span>
#include <utility>

#include "runtime/drafter.h"
#include "runtime/generation_job.h"
#include "runtime/kept_logprob.h"
#include "sampling/processors.h"

namespace t5g {
namespace {

class GreedyJob final : public GenerationJob {
 public:
  explicit GreedyJob(JobInput input)
      : vocab_size_(input.model.config().vocab_size),
        config_(input.config),
        source_ids_(std::move(input.source_ids)),
        source_(std::move(input.source)),
        ids_(std::move(input.prompt_ids)),
        n_prompt_(ids_.size()),
        cache_(input.model.new_cache()),
        processors_(config_, static_cast<int64_t>(n_prompt_), nullptr, input.more_processors),
        text_(input.model.tokenizer(), input.text),
        logprob_(std::make_shared<KeptLogprob>(input.handle, input.model)) {}

  // All tokens that the cache does not have yet (the prompt at first, then the newest one), and a draft.
  void add_steps(std::vector<Model::Step>& steps, int64_t max_draft, std::span<float>) override {
    if (done_) return;
    draft_.clear();
    if (config_.draft == Draft::kSource && n_generated() > 0) {
      const int64_t most = std::min(config_.max_new_tokens - n_generated() - 1, max_draft);
      drafter_.draft(source_ids_, ids_, static_cast<size_t>(std::max<int64_t>(most, 0)), draft_);
      // A source may hold tokens that the decoder lacks.
      draft_.erase(std::ranges::find_if(draft_, [&](int32_t id) { return id >= vocab_size_; }), draft_.end());
    }
    drafted_ids_ = ids_;
    drafted_ids_.insert(drafted_ids_.end(), draft_.begin(), draft_.end());
    const size_t n = draft_.size() + 1;
    if (next_.size() < n) next_.resize(n);
    for (size_t i = 0; i < n; ++i) ask(std::span(drafted_ids_).first(ids_.size() + i), next_[i]);
    const auto cached = static_cast<size_t>(cache_.length());
    steps.push_back(
        {source_.get(), &cache_, std::span<const int32_t>(drafted_ids_).subspan(cached), std::span(next_).first(n)});
  }

  void take() override {
    size_t n_right = 0;
    for (Selection& next : std::span(next_).first(draft_.size() + 1)) {
      accept(next);
      const bool right = n_right < draft_.size() && ids_.back() == draft_[n_right];
      if (right) ++n_right;
      if (done_ || !right) break;
    }
    if (!draft_.empty()) drafter_.learn(n_right);
    if (!done_) cache_.truncate(static_cast<int64_t>(ids_.size()) - 1);
  }

  bool done() const override { return done_; }
  std::string take_text(size_t) override { return text_.take_fresh(); }

  std::vector<GeneratedSequence> finish() override {
    if (!done_) end(FinishReason::kCancelled);
    logprob_->end();
    GeneratedSequence result;
    result.token_ids.assign(ids_.begin() + static_cast<std::ptrdiff_t>(n_prompt_), ids_.end());
    result.text = text_.take();
    result.finish_reason = reason_;
    if (logprob_->complete()) {
      result.logprob = logprob_->sum();
    } else {
      result.kept_logprob = std::move(logprob_);
    }
    return {std::move(result)};
  }

  int64_t n_generated() const override { return static_cast<int64_t>(ids_.size() - n_prompt_); }
  int64_t max_rows() const override { return 1; }

 private:
  void ask(std::span<const int32_t> ids, Selection& selection) const {
    selection.clear();
    processors_.touched(ids, selection.ids);
    selection.n_best = 1;
    selection.log_sum_exp = LogSumExp::kIfComputed;
    selection.keep_hidden = true;
  }

  void accept(Selection& next) {
    const sampling::BestToken best = sampling::choose_best(processors_, next, ids_);
    ids_.push_back(best.id);
    logprob_->add(next, best.original);
    text_.push(best.id);
    if (text_.stopped() || config_.is_eos(best.id)) {
      end(FinishReason::kStop);
    } else if (n_generated() >= config_.max_new_tokens) {
      end(FinishReason::kLength);
    }
  }

  void end(FinishReason reason) {
    text_.end();
    reason_ = text_.stopped() ? FinishReason::kStop : reason;
    cache_ = KvCache(cache_.pool());  // its pages serve the next sequence
    done_ = true;
  }

  const int32_t vocab_size_;
  const GenerationConfig& config_;
  const std::vector<int32_t> source_ids_;
  const std::shared_ptr<const SourceCache> source_;
  std::vector<int32_t> ids_;  // prompt and generated tokens
  const size_t n_prompt_;
  KvCache cache_;
  sampling::LogitsProcessors processors_;
  Drafter drafter_;
  // The step in hand.
  std::vector<int32_t> draft_;
  std::vector<int32_t> drafted_ids_;  // ids_ and the draft
  std::vector<Selection> next_;
  SequenceText text_;
  std::shared_ptr<KeptLogprob> logprob_;
  FinishReason reason_ = FinishReason::kCancelled;
  bool done_ = false;
};

}  // namespace

std::unique_ptr<GenerationJob> make_greedy_job(JobInput input) { return std::make_unique<GreedyJob>(std::move(input)); }

}  // namespace t5g
