// A step of one sequence: look ahead, ask about every place, and take tokens until one is not what was thought.
#include "runtime/sequence.h"

#include <algorithm>
#include <utility>

namespace t5g {

Sequence::Sequence(const JobInput& input, std::span<const int32_t> source_ids, int32_t index)
    : config_(input.config),
      vocab_size_(input.model.config().vocab_size),
      source_ids_(source_ids),
      ids_(input.prompt_ids),
      n_prompt_(ids_.size()),
      cache_(input.model.new_cache()),
      sampler_(input.config, static_cast<int64_t>(n_prompt_), source_ids, input.seed, index, input.more_processors),
      allowed_tokens_(config_.constraint == nullptr ? nullptr : config_.constraint->begin(config_, false)),
      drafts_(config_.draft == Draft::kSource && !config_.samples() && config_.n_sequences() == 1),
      text_(input.model.tokenizer(), input.text),
      logprob_(std::make_shared<KeptLogprob>(input.handle, input.model)),
      streams_(input.streams) {}

void Sequence::draft(size_t most) {
  drafter_.draft(source_ids_, ids_, most, ahead_);
  // A source may hold tokens that the decoder lacks.
  ahead_.erase(std::ranges::find_if(ahead_, [&](int32_t id) { return id >= vocab_size_; }), ahead_.end());
  if (allowed_tokens_ != nullptr) {
    ahead_.erase(std::ranges::find_if(ahead_, [&](int32_t id) { return config_.is_eos(id); }), ahead_.end());
    ahead_.resize(allowed_tokens_->n_allowed(generated(), ahead_));
  }
  is_draft_ = !ahead_.empty();
}

void Sequence::look_ahead(int64_t max_draft) {
  ahead_.clear();
  is_draft_ = false;
  const int64_t n_new = std::ssize(ids_) - cache_.length();  // a step of several questions is a short one
  const int64_t room =
      std::min(config_.max_new_tokens - n_generated() - 1, static_cast<int64_t>(Model::kShortStep) - n_new);
  const auto most = static_cast<size_t>(std::max<int64_t>(room, 0));
  if (allowed_tokens_ != nullptr) {
    allowed_tokens_->forced(generated(), ahead_);
    // One that ends the text is asked for, but needs no run.
    ahead_.erase(std::ranges::find_if(ahead_, [&](int32_t id) { return config_.is_eos(id); }), ahead_.end());
    if (ahead_.size() > most) ahead_.resize(most);
  }
  if (ahead_.empty() && drafts_ && n_generated() > 0) draft(std::min(most, static_cast<size_t>(max_draft)));
}

Model::Step Sequence::step(const SourceCache& source, int64_t max_draft, std::span<float> logits) {
  look_ahead(max_draft);
  ahead_ids_ = ids_;
  ahead_ids_.insert(ahead_ids_.end(), ahead_.begin(), ahead_.end());
  const size_t n = ahead_.size() + 1;
  if (next_.size() < n) next_.resize(n);
  if (allowed_.size() < n) allowed_.resize(n);
  for (size_t i = 0; i < n; ++i) next_[i].clear();  // nothing of the last step's, should there be no new questions
  logits_ = logits;
  const auto cached = static_cast<size_t>(cache_.length());
  return {&source, &cache_, std::span<const int32_t>(ahead_ids_).subspan(cached), std::span(next_).first(n)};
}

void Sequence::think() {
  if (allowed_tokens_ == nullptr) return;
  const auto written = std::span<const int32_t>(ahead_ids_).subspan(n_prompt_);
  for (size_t i = 0; i <= ahead_.size(); ++i) {
    if (i < ahead_.size() && !is_draft_) {
      allowed_[i].set_few({ahead_[i]});
    } else {
      allowed_tokens_->after(written.first(written.size() - ahead_.size() + i), allowed_[i]);
    }
  }
}

// Of several places only the last one can need a whole row: drafts are greedy, and what is forced is one token.
void Sequence::ask() {
  for (size_t i = 0; i <= ahead_.size(); ++i) {
    sampler_.ask(std::span(ahead_ids_).first(ids_.size() + i), allowed_[i],
                 i == ahead_.size() ? logits_ : logits_.first(0), next_[i]);
  }
}

void Sequence::take() {
  size_t n_right = 0;
  for (size_t i = 0; i <= ahead_.size(); ++i) {
    accept(next_[i]);
    const bool right = !is_absent_ && i < ahead_.size() && ids_.back() == ahead_[i];
    if (right) ++n_right;
    if (done_ || !right) break;
  }
  if (is_draft_) drafter_.learn(n_right);
  if (!done_) cache_.truncate(static_cast<int64_t>(ids_.size()) - 1);
}

void Sequence::accept(Selection& next) {
  const std::optional<SampledToken> token = sampler_.next(next, ids_);
  if (!token) {
    is_absent_ = true;
    return end(FinishReason::kStop);
  }
  ids_.push_back(token->id);
  logprob_->add(next, token->logit);
  if (config_.logprobs > 0) {
    const float log_sum = next.found_log_sum_exp.value();
    for (ScoredToken& top : next.top) top.value -= log_sum;
    top_.push_back(next.top);
    if (streams_) fresh_.push_back({token->id, token->logit - log_sum, next.top});
  }
  text_.push(token->id);
  if (text_.stopped() || config_.is_eos(token->id)) {
    end(FinishReason::kStop);
  } else if (n_generated() >= config_.max_new_tokens) {
    end(FinishReason::kLength);
  }
}

void Sequence::end(FinishReason reason) {
  text_.end();
  reason_ = text_.stopped() ? FinishReason::kStop : reason;
  cache_ = KvCache(cache_.pool());  // its pages serve the next sequence
  done_ = true;
}

std::optional<GeneratedSequence> Sequence::finish() {
  if (!done_) end(FinishReason::kCancelled);
  if (is_absent_) return std::nullopt;
  logprob_->end();
  GeneratedSequence result;
  result.token_ids.assign(generated().begin(), generated().end());
  result.text = text_.take();
  result.finish_reason = reason_;
  result.top_logprobs = std::move(top_);
  if (logprob_->complete()) {
    result.logprob = logprob_->sum();
    result.token_logprobs = logprob_->each();
  } else {
    result.kept_logprob = std::move(logprob_);
  }
  return result;
}

}  // namespace t5g
