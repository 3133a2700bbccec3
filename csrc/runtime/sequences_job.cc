// Greedy decoding and sampling: one sequence, or several that know nothing of each other.
#include <algorithm>
#include <string>
#include <utility>

#include "runtime/generation_job.h"
#include "runtime/sequence.h"

namespace t5g {
namespace {

class SequencesJob final : public GenerationJob {
 public:
  explicit SequencesJob(JobInput input) : source_ids_(std::move(input.source_ids)), source_(std::move(input.source)) {
    const int32_t n = input.config.n_sequences();
    sequences_.reserve(static_cast<size_t>(n));
    for (int32_t i = 0; i < n; ++i) sequences_.push_back(std::make_unique<Sequence>(input, source_ids_, i));
  }

  int64_t n_logit_rows() const override {
    return count([](const Sequence& s) { return s.needs_logits(); });
  }

  void add_steps(std::vector<Model::Step>& steps, int64_t max_draft, std::span<float> logits) override {
    const int64_t rows = n_logit_rows();
    const size_t cols = rows > 0 ? logits.size() / static_cast<size_t>(rows) : 0;
    for_each_growing([&](Sequence& sequence) {
      steps.push_back(sequence.step(*source_, max_draft, logits.first(cols)));
      logits = logits.subspan(cols);
    });
  }

  bool thinks_beside() const override {
    return count([](const Sequence& s) { return s.thinks_beside(); }) > 0;
  }
  void think() override {
    for_each_growing([](Sequence& sequence) { sequence.think(); });
  }
  void ask() override {
    for_each_growing([](Sequence& sequence) { sequence.ask(); });
  }
  void take() override {
    for_each_growing([](Sequence& sequence) { sequence.take(); });
  }

  bool done() const override {
    return count([](const Sequence& s) { return !s.done(); }) == 0;
  }

  std::string take_text(size_t sequence) override { return sequences_[sequence]->take_text(); }
  std::vector<FreshToken> take_tokens(size_t sequence) override { return sequences_[sequence]->take_tokens(); }

  std::vector<GeneratedSequence> finish() override {
    std::vector<GeneratedSequence> results;
    for (const auto& sequence : sequences_) {
      if (auto result = sequence->finish()) results.push_back(std::move(*result));
    }
    return results;
  }

  int64_t n_generated() const override {
    int64_t n = 0;
    for (const auto& sequence : sequences_) n += sequence->n_generated();
    return n;
  }

  int64_t max_rows() const override { return std::ssize(sequences_); }

 private:
  template <class Test>
  int64_t count(Test test) const {
    return std::ranges::count_if(sequences_, [&](const auto& sequence) { return test(*sequence); });
  }
  template <class Body>
  void for_each_growing(Body body) {
    for (const auto& sequence : sequences_) {
      if (!sequence->done()) body(*sequence);
    }
  }

  const std::vector<int32_t> source_ids_;
  const std::shared_ptr<const SourceCache> source_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

}  // namespace

std::unique_ptr<GenerationJob> make_sequences_job(JobInput input) {
  return std::make_unique<SequencesJob>(std::move(input));
}

}  // namespace t5g
