// The warpers. Weights stay unnormalised (the best token weighs 1): only ratios and one total are ever needed.
#include "sampling/warpers.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace t5g::sampling {
namespace {

double total_weight(const Candidates& candidates) {
  double total = 0;
  for (const Scored& c : candidates) total += c.value;
  return total;
}

// All tokens at least as likely as the k-th: those that tie with it stay, as in Hugging Face. Temperature does not
// change the order of tokens, so this comes before any exp() is taken. k = 0: all that are not banned.
void keep_top_k(std::span<const float> row, int32_t k, Candidates& candidates) {
  float least = std::numeric_limits<float>::lowest();
  if (k > 0 && static_cast<size_t>(k) < row.size()) {
    select_top(row, static_cast<size_t>(k), candidates);
    if (!candidates.empty()) least = candidates.back().value;
  }
  candidates.clear();
  for (size_t id = 0; id < row.size(); ++id) {
    if (row[id] >= least) candidates.push_back({row[id], static_cast<int32_t>(id)});
  }
}

// Logits become weights. The largest is subtracted first, so that no temperature overflows.
void apply_temperature(Candidates& candidates, double temperature) {
  float largest = std::numeric_limits<float>::lowest();
  for (const Scored& c : candidates) largest = std::max(largest, c.value);
  const float scale = static_cast<float>(temperature);
  for (Scored& c : candidates) c.value = c.value == largest ? 1.0F : std::exp((c.value - largest) / scale);
}

// The most likely tokens, until their probabilities add up to p.
void keep_top_p(Candidates& candidates, double p) {
  if (p >= 1.0 || candidates.empty()) return;
  const double total = total_weight(candidates);
  // Tokens this light cannot add up to the 1 - p that is left out even if all were: dropping them first leaves a heap
  // of hundreds instead of the whole vocabulary.
  const double light = std::min((1.0 - p) * total / static_cast<double>(candidates.size()), 1.0);
  std::erase_if(candidates, [light](const Scored& c) { return c.value < light; });

  const auto worse = [](const Scored& a, const Scored& b) { return better(b, a); };
  std::make_heap(candidates.begin(), candidates.end(), worse);
  auto kept = candidates.end();  // pop_heap() gathers the best at the end
  double sum = 0;
  do {
    std::pop_heap(candidates.begin(), kept, worse);
    sum += (--kept)->value;
  } while (sum < p * total && kept != candidates.begin());
  candidates.erase(candidates.begin(), kept);
}

void keep_min_p(Candidates& candidates, double min_p) {
  if (min_p <= 0.0) return;
  std::erase_if(candidates, [min_p](const Scored& c) { return c.value < min_p; });
}

}  // namespace

void warp(const GenerationConfig& config, std::span<const float> row, Candidates& candidates) {
  keep_top_k(row, config.top_k, candidates);
  apply_temperature(candidates, config.temperature);
  keep_top_p(candidates, config.top_p);
  keep_min_p(candidates, config.min_p);
}

int32_t draw(const Candidates& candidates, RandomStream& random) {
  double rest = random.uniform() * total_weight(candidates);
  for (const Scored& c : candidates) {
    rest -= c.value;
    if (rest < 0) return c.id;
  }
  // Rounding can leave a rest of about 1e-16 after the last one.
  return candidates.back().id;
}

}  // namespace t5g::sampling
