// The steps of one token: processors, then the best, or warpers and a draw. With top_k, what could be drawn are the k
// best of the tokens that no processor touches (and their ties) and the touched ones: whole rows are needed without it.
#include "sampling/sampler.h"

#include <algorithm>
#include <limits>

namespace t5g {

Sampler::Sampler(const GenerationConfig& config, int64_t prompt_length, uint64_t seed, int32_t sequence,
                 AllowedTokens* allowed)
    : config_(config), processors_(config, prompt_length, allowed), random_(seed, static_cast<uint64_t>(sequence)) {}

bool Sampler::needs_all() const { return processors_.touch_all() || (config_.samples() && config_.top_k == 0); }

void Sampler::ask(std::span<const int32_t> ids, std::span<float> all, Selection& selection) const {
  selection.clear();
  selection.log_sum_exp = LogSumExp::kYes;
  if (needs_all()) {
    selection.all = all;
    return;
  }
  processors_.touched(ids, selection.ids);
  selection.n_best = config_.samples() ? static_cast<size_t>(config_.top_k) : 1;
  selection.with_ties = config_.samples();
}

SampledToken Sampler::next(Selection& answer, std::span<const int32_t> ids) {
  const float log_sum = answer.found_log_sum_exp.value();
  if (!config_.samples() && !needs_all()) {
    const sampling::BestToken best = sampling::choose_best(processors_, answer, ids);
    return {best.id, best.original - log_sum};
  }
  collect(answer, ids);
  if (candidates_.empty()) sampling::throw_all_banned();
  int32_t id = 0;
  if (config_.samples()) {
    sampling::warp(config_, candidates_);
    id = sampling::draw(candidates_, random_);
  } else {
    id = std::min_element(candidates_.begin(), candidates_.end(), better)->id;
  }
  return {id, processors_.original(id, value_of(id, answer)) - log_sum};
}

// After processors.
float Sampler::value_of(int32_t id, const Selection& answer) const {
  if (needs_all()) return answer.all[static_cast<size_t>(id)];
  const auto place = std::lower_bound(answer.ids.begin(), answer.ids.end(), id);
  if (place != answer.ids.end() && *place == id) return answer.values[static_cast<size_t>(place - answer.ids.begin())];
  return std::find_if(answer.best.begin(), answer.best.end(), [id](const ScoredToken& t) { return t.id == id; })->value;
}

// The tokens that may be drawn and are not banned, by id.
void Sampler::collect(Selection& answer, std::span<const int32_t> ids) {
  candidates_.clear();
  const auto add = [&](float value, int32_t id) {
    if (value >= std::numeric_limits<float>::lowest()) candidates_.push_back({value, id});
  };
  if (needs_all()) {
    processors_.apply(answer.all, ids);
    for (size_t id = 0; id < answer.all.size(); ++id) add(answer.all[id], static_cast<int32_t>(id));
    return;
  }
  processors_.apply(answer, ids);
  for (const ScoredToken& token : answer.best) add(token.value, token.id);
  for (size_t i = 0; i < answer.ids.size(); ++i) add(answer.values[i], answer.ids[i]);
  std::sort(candidates_.begin(), candidates_.end(),
            [](const ScoredToken& a, const ScoredToken& b) { return a.id < b.id; });
}

}  // namespace t5g
