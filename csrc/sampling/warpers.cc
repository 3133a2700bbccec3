// The warpers. Weights stay unnormalised (the best token weighs 1): only ratios and one total are ever needed.
#include "sampling/warpers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <numeric>

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

// exp(x) of x <= 0 within 8e-8 of it, and 0 from -87 down. Without branches and tables, so that compilers make vectors
// of it; and with the same bits on every system, so that a seed draws the same tokens.
inline float exp_of_negative(float x) {
  constexpr float kLog2E = 1.44269504F, kLn2High = 0.693145752F, kLn2Low = 1.42860677e-6F;
  constexpr float kToInteger = 12582912.0F;  // its last bit is worth 1
  const float shifted = x * kLog2E + kToInteger, power = shifted - kToInteger;
  const float rest = (x - power * kLn2High) - power * kLn2Low;  // at most ln(2) / 2
  float sum = 1.98756915e-4F * rest + 1.39819995e-3F;
  sum = sum * rest + 8.33345191e-3F;
  sum = sum * rest + 4.16657959e-2F;
  sum = sum * rest + 1.66666655e-1F;
  sum = sum * rest + 0.5F;
  const float of_rest = sum * (rest * rest) + rest + 1.0F;
  const float scale = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) + 127) << 23);
  const uint32_t mask = -static_cast<uint32_t>(x > -87.0F);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(of_rest * scale) & mask);
}

// Logits become weights -> their total. The largest is subtracted first, so that no temperature overflows.
double apply_temperature(Candidates& candidates, double temperature) {
  constexpr size_t kBlock = 64;
  const float largest = largest_value(candidates);
  // Not 0, even if rounded: the best token weighs 1 at any temperature.
  const float scale = std::max(static_cast<float>(temperature), std::numeric_limits<float>::min());
  std::array<float, kBlock> block;
  std::array<double, 8> totals = {};
  for (size_t begin = 0; begin < candidates.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, candidates.size() - begin);
    block.fill(std::numeric_limits<float>::lowest());
    for (size_t i = 0; i < n; ++i) block[i] = candidates[begin + i].value;
    for (float& value : block) value = exp_of_negative((value - largest) / scale);
    for (size_t i = 0; i < kBlock; i += totals.size()) {
      for (size_t lane = 0; lane < totals.size(); ++lane) totals[lane] += block[i + lane];
    }
    for (size_t i = 0; i < n; ++i) candidates[begin + i].value = block[i];
  }
  return std::accumulate(totals.begin(), totals.end(), 0.0);
}

// Of n things, those first in order whose weights add up to `wanted`, or all -> the number of the last of them. The
// order is that of rank(i), 0 or more, and before(i, j) among equal ones. Weights are summed by the leading bits of
// ranks, so that only what shares those of the last one is sorted: n may be a whole vocabulary.
template <typename Rank, typename Weight, typename Before>
size_t last_of_first(size_t n, double wanted, const Rank& rank, const Weight& weight, const Before& before) {
  constexpr int kDropped = 15;
  const auto place_of = [&](size_t i) { return std::bit_cast<uint32_t>(static_cast<float>(rank(i))) >> kDropped; };
  std::vector<double> sums((std::bit_cast<uint32_t>(std::numeric_limits<float>::infinity()) >> kDropped) + 1);
  uint32_t place = 0, furthest = 0;
  for (size_t i = 0; i < n; ++i) {
    place = place_of(i);
    sums[place] += weight(i);
    furthest = std::max(furthest, place);
  }
  wanted = std::max(wanted, std::numeric_limits<double>::min());  // one at least
  for (place = 0; place < furthest && sums[place] < wanted; ++place) wanted -= sums[place];

  std::vector<size_t> there;
  for (size_t i = 0; i < n; ++i) {
    if (place_of(i) == place) there.push_back(i);
  }
  std::sort(there.begin(), there.end(), before);
  auto last = there.begin();
  for (double sum = weight(*last); sum < wanted && last + 1 != there.end();) sum += weight(*++last);
  return *last;
}

// The most likely tokens, until their probabilities add up to p. total: of all weights.
void keep_top_p(Candidates& candidates, double p, double total) {
  if (p >= 1.0 || candidates.empty()) return;
  // Tokens this light cannot add up to the 1 - p that is left out even if all were: most of a vocabulary.
  const double light = std::min((1.0 - p) * total / static_cast<double>(candidates.size()), 1.0);
  std::erase_if(candidates, [light](const ScoredToken& c) { return c.value < light; });
  const size_t last = last_of_first(
      candidates.size(), p * total, [&](size_t i) { return 1 / candidates[i].value; },
      [&](size_t i) { return candidates[i].value; },
      [&](size_t i, size_t j) { return better(candidates[i], candidates[j]); });
  std::erase_if(candidates, [least = candidates[last]](const ScoredToken& c) { return better(least, c); });
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
  const double total = total_weight(candidates), expected = entropy(candidates, total);
  std::vector<double> distances;
  for (const ScoredToken& c : candidates) distances.push_back(std::abs(-std::log(c.value / total) - expected));
  const size_t last = last_of_first(
      candidates.size(), p * total, [&](size_t i) { return distances[i]; },
      [&](size_t i) { return candidates[i].value; }, [&](size_t i, size_t j) { return distances[i] < distances[j]; });
  const double most = distances[last];
  size_t n = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (distances[i] <= most) candidates[n++] = candidates[i];
  }
  candidates.resize(n);
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
