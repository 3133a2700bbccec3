// The steps of one token: processors, then the best, or warpers and a draw. With top_k, what could be drawn are the k
// best of the tokens that no processor touches (and their ties) and the touched ones: whole rows are needed without it.
#include "sampling/sampler.h"

#include <algorithm>
#include <limits>

namespace t5g {

Sampler::Sampler(const GenerationConfig& config, int64_t prompt_length, std::span<const int32_t> source_ids,
                 uint64_t seed, int32_t sequence, std::span<const sampling::Processor> more)
    : config_(config),
      prompt_length_(prompt_length),
      sequence_(sequence),
      processors_(config, prompt_length, source_ids, more),
      random_(seed, static_cast<uint64_t>(sequence)) {}

// Where alternatives part.
bool Sampler::is_branch(std::span<const int32_t> ids) const {
  return config_.alternatives > 0 && std::ssize(ids) == prompt_length_;
}

void Sampler::ask(std::span<const int32_t> ids, const Allowed& allowed, std::span<float> all,
                  Selection& selection) const {
  selection.clear();
  selection.log_sum_exp = config_.logprobs > 0 ? LogSumExp::kYes : LogSumExp::kIfComputed;
  selection.keep_hidden = true;
  selection.n_top = static_cast<size_t>(config_.logprobs);
  if (needs_all() && !processors_.asks_few(ids, allowed)) {
    selection.all = all;
    if (allowed.kind == Allowed::Kind::kMask) selection.allowed = allowed.mask;
    return;
  }
  const int32_t n_best = config_.samples() ? config_.top_k : is_branch(ids) ? config_.alternatives : 1;
  processors_.ask(ids, allowed, static_cast<size_t>(n_best), selection);
  selection.with_ties = config_.samples();
}

std::optional<SampledToken> Sampler::next(Selection& answer, std::span<const int32_t> ids) {
  if (is_branch(ids)) {
    processors_.apply(answer, ids);
    sampling::rank(answer, candidates_);
    if (candidates_.empty()) sampling::throw_all_banned();
    if (sequence_ >= std::ssize(candidates_)) return std::nullopt;
    const ScoredToken token = candidates_[static_cast<size_t>(sequence_)];
    return SampledToken{token.id, processors_.original(token.id, token.value)};
  }
  if (!config_.samples()) {
    const sampling::BestToken best = sampling::choose_best(processors_, answer, ids);
    return SampledToken{best.id, best.original};
  }
  collect(answer, ids);
  if (candidates_.empty()) sampling::throw_all_banned();
  sampling::warp(config_, candidates_);
  const int32_t id = sampling::draw(candidates_, random_);
  return SampledToken{id, processors_.original(id, value_of(id, answer))};
}

// After processors.
float Sampler::value_of(int32_t id, const Selection& answer) const {
  if (!answer.all.empty()) return answer.all[static_cast<size_t>(id)];
  const auto place = std::lower_bound(answer.ids.begin(), answer.ids.end(), id);
  if (place != answer.ids.end() && *place == id) return answer.values[static_cast<size_t>(place - answer.ids.begin())];
  return std::find_if(answer.best.begin(), answer.best.end(), [id](const ScoredToken& t) { return t.id == id; })->value;
}

// Those of a whole row: written one after the other, so that no branch depends on what a token is.
void Sampler::collect_row(std::span<const float> row) {
  candidates_.resize(row.size());
  size_t n = 0;
  for (size_t id = 0; id < row.size(); ++id) {
    candidates_[n] = {row[id], static_cast<int32_t>(id)};
    n += row[id] >= std::numeric_limits<float>::lowest() ? 1 : 0;
  }
  candidates_.resize(n);
}

// The tokens that may be drawn and are not banned, by id.
void Sampler::collect(Selection& answer, std::span<const int32_t> ids) {
  candidates_.clear();
  const auto add = [&](float value, int32_t id) {
    if (value >= std::numeric_limits<float>::lowest()) candidates_.push_back({value, id});
  };
  processors_.apply(answer, ids);
  if (!answer.all.empty()) {
    collect_row(answer.all);
    return;
  }
  for (const ScoredToken& token : answer.best) add(token.value, token.id);
  for (size_t i = 0; i < answer.ids.size(); ++i) add(answer.values[i], answer.ids[i]);
  std::sort(candidates_.begin(), candidates_.end(),
            [](const ScoredToken& a, const ScoredToken& b) { return a.id < b.id; });
}

}  // namespace t5g
