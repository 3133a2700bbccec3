// One step: rank the continuations of all beams, set the ended ones aside, keep the best others.
#include "sampling/beam_search.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace t5g {

BeamSearch::BeamSearch(const GenerationConfig& config, std::span<const int32_t> prompt_ids,
                       std::span<const int32_t> source_ids, StopTest stop_test)
    : config_(config),
      prompt_length_(prompt_ids.size()),
      // Enough that num_beams continuations are left even if the best ones of every beam are all the end tokens.
      n_candidates_(std::max<size_t>(2, 1 + config.eos_token_ids.size()) * static_cast<size_t>(config.num_beams)),
      processors_(config, static_cast<int64_t>(prompt_ids.size()), source_ids),
      stop_test_(std::move(stop_test)) {
  if (prompt_ids.empty()) throw InvalidArgument("prompt_ids: must hold at least the start token, got none.");
  beams_.push_back({0, prompt_ids.back(), 0.0F, 0.0, {prompt_ids.begin(), prompt_ids.end()}});
}

void BeamSearch::ask(size_t beam, const Allowed& allowed, Selection& selection) const {
  selection.clear();
  selection.log_sum_exp = LogSumExp::kYes;
  // Beams compete by log-probabilities, and processors act on them: the penalty scales a log-probability here and a
  // logit in greedy decoding.
  selection.kind = LogitKind::kLogProbabilities;
  processors_.ask(beams_[beam].ids, allowed, n_candidates_, selection);
  selection.n_top = static_cast<size_t>(config_.logprobs);
}

void BeamSearch::advance(std::span<Selection> answers) {
  assert(!done_ && answers.size() == beams_.size());
  const size_t num_beams = static_cast<size_t>(config_.num_beams);
  const std::vector<Candidate> candidates = best_candidates(answers);
  if (candidates.empty() && finished_.empty()) sampling::throw_all_banned();

  std::vector<Beam> growing;
  for (size_t rank = 0; rank < candidates.size() && growing.size() < num_beams; ++rank) {
    Beam beam = extend(candidates[rank], answers);
    if (!ends(beam)) {
      growing.push_back(std::move(beam));
    } else if (rank < num_beams) {  // lower ranks only stand by, to keep num_beams growing
      finish(beam);
    }
  }
  beams_ = std::move(growing);
  const bool full = finished_.size() == num_beams;
  done_ = beams_.empty() || (full && (config_.early_stopping == EarlyStopping::kWhenFull || !can_improve()));
}

// The best continuations of one beam, to top_.
void BeamSearch::rank(const Beam& beam, Selection& answer) {
  processors_.apply(answer, beam.ids);
  sampling::rank(answer, top_);
  if (top_.size() > n_candidates_) top_.resize(n_candidates_);
}

// The best continuations of all beams together, best first; equal ones by beam and token.
std::vector<BeamSearch::Candidate> BeamSearch::best_candidates(std::span<Selection> answers) {
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < beams_.size(); ++i) {
    const Beam& beam = beams_[i];
    rank(beam, answers[i]);
    for (const auto& [value, token] : top_) {
      candidates.push_back({beam.score + value, processors_.original(token, value), static_cast<int32_t>(i), token});
    }
  }
  const auto better = [](const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
  };
  std::sort(candidates.begin(), candidates.end(), better);
  candidates.resize(std::min(candidates.size(), n_candidates_));
  return candidates;
}

Beam BeamSearch::extend(const Candidate& candidate, std::span<const Selection> answers) const {
  const auto parent = static_cast<size_t>(candidate.beam);
  Beam beam = beams_[parent];
  beam.parent = candidate.beam;
  beam.token = candidate.token;
  beam.score = candidate.score;
  beam.logprob += static_cast<double>(candidate.logprob);
  beam.ids.push_back(candidate.token);
  beam.scores.push_back({candidate.logprob, answers[parent].top});
  return beam;
}

std::span<const int32_t> BeamSearch::generated(const Beam& beam) const {
  return std::span(beam.ids).subspan(prompt_length_);
}

bool BeamSearch::ends(const Beam& beam) const {
  const auto ids = generated(beam);
  return config_.is_eos(beam.token) || ids.size() >= static_cast<size_t>(config_.max_new_tokens) ||
         (stop_test_ && stop_test_(ids));
}

Hypothesis BeamSearch::hypothesis(const Beam& beam, bool finished) const {
  const auto ids = generated(beam);
  return {penalized(beam.score, ids.size()), beam.logprob, finished, {ids.begin(), ids.end()}, beam.scores};
}

// Into the pool of the num_beams best; among equals the older one stays ahead.
void BeamSearch::finish(const Beam& beam) {
  Hypothesis found = hypothesis(beam, true);
  const auto worse = [](float score, const Hypothesis& other) { return score > other.score; };
  finished_.insert(std::upper_bound(finished_.begin(), finished_.end(), found.score, worse), std::move(found));
  if (finished_.size() > static_cast<size_t>(config_.num_beams)) finished_.pop_back();
}

float BeamSearch::penalized(float score, size_t length) const {
  const double divisor = std::pow(static_cast<double>(std::max<size_t>(length, 1)), config_.length_penalty);
  return score / static_cast<float>(divisor);
}

// Whether the best growing beam could still enter a full pool, if its score stayed what it is. How long it is taken to
// become is what the variants of early_stopping differ in.
bool BeamSearch::can_improve() const {
  const bool at_full_length = config_.early_stopping == EarlyStopping::kNever && config_.length_penalty > 0.0;
  const size_t length = at_full_length ? static_cast<size_t>(config_.max_new_tokens) : generated(beams_.front()).size();
  return penalized(beams_.front().score, length) > finished_.back().score;
}

std::vector<Hypothesis> BeamSearch::finalize() const {
  const size_t n = static_cast<size_t>(config_.num_return_sequences);
  std::vector<Hypothesis> result(finished_.begin(), finished_.begin() + std::min(n, finished_.size()));
  for (size_t i = 0; i < beams_.size() && result.size() < n; ++i) result.push_back(hypothesis(beams_[i], false));
  return result;
}

}  // namespace t5g
