// Beam search: the book-keeping is in sampling/; here each beam gets a cache of its own, sharing what beams share.
#include <string>
#include <utility>

#include "runtime/generation_job.h"
#include "sampling/beam_search.h"
#include "sampling/stop_matcher.h"

namespace t5g {
namespace {

// A text up to the stop string that ends it, if one does.
struct StoppedText {
  StoppedText(const std::string& full, const std::vector<std::string>& stops) {
    StopMatcher matcher(stops);
    text = matcher.feed(full);
    found = matcher.matched();
    if (!found) text += matcher.flush();
  }
  std::string text;
  bool found;
};

class BeamJob final : public GenerationJob {
 public:
  explicit BeamJob(JobInput input)
      : tokenizer_(input.model.tokenizer()),
        source_(std::move(input.source)),
        config_(input.config),
        text_(input.text),
        prompt_ids_(std::move(input.prompt_ids)),
        allowed_tokens_(config_.constraint == nullptr ? nullptr : config_.constraint->begin(config_, true)),
        search_(config_, prompt_ids_, input.source_ids, stop_test()) {
    caches_.push_back(input.model.new_cache());
  }

  void add_steps(std::vector<Model::Step>& steps, int64_t, std::span<float>) override {
    if (done()) return;
    const std::vector<Beam>& beams = search_.beams();
    if (next_.size() < beams.size()) next_.resize(beams.size());
    if (allowed_.size() < beams.size()) allowed_.resize(beams.size());
    for (size_t i = 0; i < beams.size(); ++i) {
      next_[i].clear();
      const auto cached = static_cast<size_t>(caches_[i].length());
      steps.push_back(
          {source_.get(), &caches_[i], std::span<const int32_t>(beams[i].ids).subspan(cached), {&next_[i], 1}});
    }
  }

  bool thinks_beside() const override {
    return !done() && allowed_tokens_ != nullptr && config_.constraint->runs_beside();
  }

  void think() override {
    if (done() || allowed_tokens_ == nullptr) return;
    const std::vector<Beam>& beams = search_.beams();
    for (size_t i = 0; i < beams.size(); ++i) allowed_tokens_->after(search_.generated(beams[i]), allowed_[i]);
  }

  void ask() override {
    if (done()) return;
    for (size_t i = 0; i < search_.beams().size(); ++i) search_.ask(i, allowed_[i], next_[i]);
  }

  void take() override {
    search_.advance(std::span(next_).first(search_.beams().size()));
    ++n_steps_;
    std::vector<KvCache> caches;
    if (!search_.done()) {
      for (const Beam& beam : search_.beams()) caches.push_back(caches_[static_cast<size_t>(beam.parent)].fork());
    }
    caches_ = std::move(caches);
  }

  bool done() const override { return search_.done(); }

  std::string take_text(size_t) override { return {}; }  // nothing is certain before the end
  std::vector<FreshToken> take_tokens(size_t) override { return {}; }

  std::vector<GeneratedSequence> finish() override {
    std::vector<GeneratedSequence> results;
    for (Hypothesis& hypothesis : search_.finalize()) {
      GeneratedSequence& result = results.emplace_back();
      StoppedText stopped = stopped_text(hypothesis.generated_ids);
      result.text = std::move(stopped.text);
      result.logprob = hypothesis.logprob;
      result.score = hypothesis.score;
      for (TokenScore& token : hypothesis.scores) {
        result.token_logprobs.push_back(token.logprob);
        if (config_.logprobs > 0) result.top_logprobs.push_back(std::move(token.top));
      }
      const bool at_eos = !hypothesis.generated_ids.empty() && config_.is_eos(hypothesis.generated_ids.back());
      const bool complete = stopped.found || at_eos;
      result.finish_reason = complete              ? FinishReason::kStop
                             : hypothesis.finished ? FinishReason::kLength
                                                   : FinishReason::kCancelled;
      result.token_ids = std::move(hypothesis.generated_ids);
    }
    caches_.clear();
    return results;
  }

  int64_t n_generated() const override { return n_steps_; }
  int64_t max_rows() const override { return config_.num_beams; }

 private:
  StoppedText stopped_text(std::span<const int32_t> ids) const {
    if (tokenizer_->is_placeholder()) return {"", text_.stop};
    return {tokenizer_->decode(ids, text_.skip_special_tokens), text_.stop};
  }

  StopTest stop_test() const {
    if (text_.stop.empty()) return nullptr;
    return [this](std::span<const int32_t> generated) { return stopped_text(generated).found; };
  }

  const std::shared_ptr<const Tokenizer> tokenizer_;
  const std::shared_ptr<const SourceCache> source_;
  const GenerationConfig& config_;
  const TextOptions& text_;
  const std::vector<int32_t> prompt_ids_;
  const std::unique_ptr<AllowedTokens> allowed_tokens_;  // null: everything is allowed
  BeamSearch search_;
  std::vector<Allowed> allowed_;  // after each growing beam
  std::vector<KvCache> caches_;   // one per growing beam,
  std::vector<Selection> next_;   // and what is asked about each, or about more
  int64_t n_steps_ = 0;
};

}  // namespace

std::unique_ptr<GenerationJob> make_beam_job(JobInput input) { return std::make_unique<BeamJob>(std::move(input)); }

}  // namespace t5g
