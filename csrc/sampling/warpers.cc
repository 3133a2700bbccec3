// The warpers. Weights stay unnormalised (the best token weighs 1): only ratios and one total are ever needed.
#include "sampling/warpers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

namespace t5g::sampling {
namespace {

double total_weight(const Candidates& candidates) {
  double total = 0;
  for (const ScoredToken& c : candidates) total += c.value;
  return total;
}

// All tokens at least as likely as the k-th: those that tie with it stay, as in Hugging Face. Temperature does not
// change the order of tokens, so this comes before any exp() is taken. k = 0: all.
void keep_top_k(int32_t k, Candidates& candidates) {
  const auto n = static_cast<size_t>(k);
  if (n == 0 || n >= candidates.size()) return;
  std::vector<float> values;
  for (const ScoredToken& c : candidates) values.push_back(c.value);
  const auto last = values.begin() + static_cast<std::ptrdiff_t>(n - 1);
  std::nth_element(values.begin(), last, values.end(), std::greater<>());
  std::erase_if(candidates, [least = *last](const ScoredToken& c) { return c.value < least; });
}

// In lanes: one comparison need not wait for the one before it.
float largest_value(const Candidates& candidates) {
  std::array<float, 8> lanes;
  lanes.fill(std::numeric_limits<float>::lowest());
  size_t i = 0;
  for (; i + lanes.size() <= candidates.size(); i += lanes.size()) {
    for (size_t lane = 0; lane < lanes.size(); ++lane) lanes[lane] = std::max(lanes[lane], candidates[i + lane].value);
  }
  for (; i < candidates.size(); ++i) lanes[0] = std::max(lanes[0], candidates[i].value);
  return *std::max_element(lanes.begin(), lanes.end());
}

// Logits become weights -> their total. The largest is subtracted first, so that no temperature overflows.
double apply_temperature(Candidates& candidates, double temperature) {
  const float largest = largest_value(candidates), scale = static_cast<float>(temperature);
  double total = 0;
  for (ScoredToken& c : candidates) {
    c.value = c.value == largest ? 1.0F : std::exp((c.value - largest) / scale);
    total += c.value;
  }
  return total;
}

// The most likely tokens, until their probabilities add up to p. total: of all weights.
void keep_top_p(Candidates& candidates, double p, double total) {
  if (p >= 1.0 || candidates.empty()) return;
  // Tokens this light cannot add up to the 1 - p that is left out even if all were: dropping them first leaves a heap
  // of hundreds instead of the whole vocabulary.
  const double light = std::min((1.0 - p) * total / static_cast<double>(candidates.size()), 1.0);
  std::erase_if(candidates, [light](const ScoredToken& c) { return c.value < light; });

  const auto worse = [](const ScoredToken& a, const ScoredToken& b) { return better(b, a); };
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
  std::erase_if(candidates, [min_p](const ScoredToken& c) { return c.value < min_p; });
}

double entropy(const Candidates& candidates, double total) {
  double sum = 0;
  for (const ScoredToken& c : candidates) {
    const double p = c.value / total;
    if (p > 0) sum -= p * std::log(p);
  }
  return sum;
}

// The tokens whose surprise, -log p, is closest to the entropy, until their probabilities add up to p; and those as
// close as the last of them.
void keep_typical(Candidates& candidates, double p) {
  if (p >= 1.0 || candidates.size() < 2) return;
  struct Token {
    double distance, probability;
  };
  const double total = total_weight(candidates), expected = entropy(candidates, total);
  const auto distance = [&](const ScoredToken& c) { return std::abs(-std::log(c.value / total) - expected); };
  std::vector<Token> sorted;
  for (const ScoredToken& c : candidates) sorted.push_back({distance(c), c.value / total});
  std::sort(sorted.begin(), sorted.end(), [](const Token& a, const Token& b) { return a.distance < b.distance; });
  size_t last = 0;
  for (double sum = sorted[0].probability; sum < p && last + 1 < sorted.size();) sum += sorted[++last].probability;
  std::erase_if(candidates, [&, most = sorted[last].distance](const ScoredToken& c) { return distance(c) > most; });
}

// Tokens of this probability or more, and the likeliest ones.
void cut_off(Candidates& candidates, double least) {
  const double total = total_weight(candidates);
  float largest = 0;
  for (const ScoredToken& c : candidates) largest = std::max(largest, c.value);
  std::erase_if(candidates, [&](const ScoredToken& c) { return c.value / total < least && c.value < largest; });
}

// The more certain the model is, the less likely may a token be.
void keep_eta(Candidates& candidates, double epsilon) {
  const double spread = entropy(candidates, total_weight(candidates));
  cut_off(candidates, std::min(epsilon, std::sqrt(epsilon) * std::exp(-spread)));
}

}  // namespace

void warp(const GenerationConfig& config, Candidates& candidates) {
  keep_top_k(config.top_k, candidates);
  const double total = apply_temperature(candidates, config.temperature);
  keep_top_p(candidates, config.top_p, total);
  keep_min_p(candidates, config.min_p);
  keep_typical(candidates, config.typical_p);
  if (config.epsilon_cutoff > 0.0) cut_off(candidates, config.epsilon_cutoff);
  if (config.eta_cutoff > 0.0) keep_eta(candidates, config.eta_cutoff);
}

int32_t draw(const Candidates& candidates, RandomStream& random) {
  double rest = random.uniform() * total_weight(candidates);
  for (const ScoredToken& c : candidates) {
    rest -= c.value;
    if (rest < 0) return c.id;
  }
  // Rounding can leave a rest of about 1e-16 after the last one.
  return candidates.back().id;
}

}  // namespace t5g::sampling
