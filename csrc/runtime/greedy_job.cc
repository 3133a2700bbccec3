// Greedy decoding: always the likeliest token. It asks the model for that token alone, and guesses several ahead where
// the source or the text itself suggests how it goes on; the tokens are those of one step after the other.
#include <algorithm>
#include <limits>
#include <utility>

#include "runtime/drafter.h"
#include "runtime/generation_job.h"
#include "runtime/kept_logprob.h"
#include "sampling/processors.h"

namespace t5g {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

void insert_sorted(std::vector<int32_t>& ids, int32_t id) {
  const auto place = std::lower_bound(ids.begin(), ids.end(), id);
  if (place == ids.end() || *place != id) ids.insert(place, id);
}

class GreedyJob final : public GenerationJob {
 public:
  explicit GreedyJob(JobInput input)
      : model_(input.model),
        config_(input.config),
        source_ids_(std::move(input.source_ids)),
        source_(std::move(input.source)),
        ids_(std::move(input.prompt_ids)),
        n_prompt_(ids_.size()),
        cache_(model_.new_cache()),
        processors_(config_, static_cast<int64_t>(n_prompt_), nullptr),
        text_(model_.tokenizer(), input.text),
        logprob_(std::make_shared<KeptLogprob>(model_)) {
    if (looks_at_ids()) {
      for (const int32_t id : ids_) insert_sorted(seen_, id);
    }
  }

  // All tokens that the cache does not have yet (the prompt at first, then the newest one), and guesses.
  void add_steps(std::vector<Model::Step>& steps, int64_t max_guesses) override {
    if (done_) return;
    const auto cached = static_cast<std::ptrdiff_t>(cache_.length());
    guesses_.clear();
    if (config_.draft == Draft::kSource && n_generated() > 0) {
      const int64_t left = config_.max_new_tokens - n_generated() - 1;
      drafter_.guess(source_ids_, ids_, static_cast<size_t>(std::max<int64_t>(std::min(left, max_guesses), 0)),
                     guesses_);
    }
    step_ids_.assign(ids_.begin() + cached, ids_.end());
    step_ids_.insert(step_ids_.end(), guesses_.begin(), guesses_.end());
    const size_t n = guesses_.size() + 1;
    if (next_.size() < n) next_.resize(n);
    for (size_t i = 0; i < n; ++i) set_apart(i, next_[i].apart);
    steps.push_back({source_.get(), &cache_, step_ids_, std::span(next_).first(n)});
  }

  void take(Tensor) override {
    size_t n_right = 0;
    for (const Model::BestToken& next : std::span(next_).first(guesses_.size() + 1)) {
      accept(next);
      const bool right = n_right < guesses_.size() && ids_.back() == guesses_[n_right];
      if (right) ++n_right;
      if (done_ || !right) break;
    }
    if (!guesses_.empty()) drafter_.learn(n_right);
    if (!done_) cache_.truncate(static_cast<int64_t>(ids_.size()) - 1);
  }

  bool done() const override { return done_; }
  std::string take_text() override { return text_.take_fresh(); }

  std::vector<GeneratedSequence> finish() override {
    if (!done_) end(FinishReason::kCancelled);
    logprob_->end(model_);
    GeneratedSequence result;
    result.token_ids.assign(ids_.begin() + static_cast<std::ptrdiff_t>(n_prompt_), ids_.end());
    result.text = text_.take();
    result.finish_reason = reason_;
    if (logprob_->complete()) {
      result.logprob = logprob_->sum(model_);
    } else {
      result.kept_logprob = std::move(logprob_);
    }
    return {std::move(result)};
  }

  int64_t n_generated() const override { return static_cast<int64_t>(ids_.size() - n_prompt_); }
  int64_t max_rows() const override { return 1; }

 private:
  bool looks_at_ids() const { return config_.repetition_penalty != 1.0 || config_.no_repeat_ngram_size > 0; }

  // The tokens whose logits the options may change after the first n guesses.
  void set_apart(size_t n, std::vector<int32_t>& apart) const {
    apart.assign(seen_.begin(), seen_.end());
    const auto add = [&](int32_t id) {
      if (id < model_.config().vocab_size) insert_sorted(apart, id);
    };
    if (looks_at_ids()) std::for_each_n(guesses_.begin(), n, add);
    if (n_generated() + static_cast<int64_t>(n) < config_.min_new_tokens)
      std::for_each(config_.eos_token_ids.begin(), config_.eos_token_ids.end(), add);
    std::for_each(config_.suppress_token_ids.begin(), config_.suppress_token_ids.end(), add);
  }

  struct Choice {
    int32_t id;
    float value;  // after the options' changes
    float logit;  // the model's own
  };

  Choice choose(const Model::BestToken& next) {
    Choice best{next.id, next.id >= 0 ? next.logit : kBanned, next.logit};
    if (!next.apart.empty()) {
      // The options change a whole row of logits, and of that the tokens set apart only: no other place is looked at.
      row_.resize(static_cast<size_t>(model_.config().vocab_size));
      for (size_t i = 0; i < next.apart.size(); ++i) row_[static_cast<size_t>(next.apart[i])] = next.apart_logits[i];
      processors_.apply(row_, ids_);
      for (const int32_t id : next.apart) {
        const float value = row_[static_cast<size_t>(id)];
        if (value > best.value || (value == best.value && id < best.id)) best = {id, value, 0};
      }
      if (best.id != next.id && best.id >= 0) best.logit = processors_.original(row_, best.id);
    }
    if (!(best.value > kBanned)) sampling::throw_all_banned();
    return best;
  }

  void accept(const Model::BestToken& next) {
    const Choice choice = choose(next);
    ids_.push_back(choice.id);
    if (looks_at_ids()) insert_sorted(seen_, choice.id);
    logprob_->add(model_, next, choice.logit);
    text_.push(choice.id);
    if (text_.stopped() || config_.is_eos(choice.id)) {
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

  Model& model_;
  const GenerationConfig& config_;
  const std::vector<int32_t> source_ids_;
  const std::shared_ptr<const SourceCache> source_;
  std::vector<int32_t> ids_;  // prompt and generated tokens
  const size_t n_prompt_;
  std::vector<int32_t> seen_;  // ids_ in ascending order, where the options look at them
  KvCache cache_;
  sampling::LogitsProcessors processors_;
  std::vector<float> row_;
  Drafter drafter_;
  // The step in hand.
  std::vector<int32_t> guesses_;
  std::vector<int32_t> step_ids_;
  std::vector<Model::BestToken> next_;
  SequenceText text_;
  std::shared_ptr<KeptLogprob> logprob_;
  FinishReason reason_ = FinishReason::kCancelled;
  bool done_ = false;
};

}  // namespace

std::unique_ptr<GenerationJob> make_greedy_job(JobInput input) { return std::make_unique<GreedyJob>(std::move(input)); }

}  // namespace t5g
