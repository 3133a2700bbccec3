// Plain loops: this is looked at by people, a text at a time.
#include "runtime/attention_weights.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace t5g {
namespace {

// Sums that do not wait for each other, for the compiler's vectors. Every head_dim is a multiple of 8 or small.
float dot(const float* a, const float* b, int64_t n) {
  constexpr int64_t kLanes = 8;
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void append(Device& device, Tensor from, std::vector<float>& to) {
  const size_t before = to.size(), n = static_cast<size_t>(from.rows * from.cols);
  to.resize(before + n);
  device.download(from, std::span(to).subspan(before, n));
}

// Scores of one query against keys [first, last), appended.
void score(const float* query, std::span<const float> keys, int64_t first, int64_t last, int kv_head,
           const AttentionSpec& spec, std::vector<float>& scores) {
  const int64_t stride = static_cast<int64_t>(spec.kv.n_kv_heads) * spec.kv.head_dim;
  for (int64_t j = first; j < last; ++j) {
    const float* key = keys.data() + j * stride + static_cast<int64_t>(kv_head) * spec.kv.head_dim;
    const float score = spec.scale * dot(query, key, spec.kv.head_dim);
    scores.push_back(spec.softcap > 0 ? spec.softcap * std::tanh(score / spec.softcap) : score);
  }
}

// Scores become weights, which add up to 1.
void softmax(std::span<float> scores) {
  const float largest = *std::ranges::max_element(scores);
  double sum = 0;
  for (float& x : scores) sum += static_cast<double>(x = std::exp(x - largest));
  for (float& x : scores) x = static_cast<float>(static_cast<double>(x) / sum);
}

}  // namespace

void AttentionQueries::see(size_t layer, Tensor queries, std::optional<Tensor> own_keys) {
  append(device_, queries, layers_[layer].queries);
  if (own_keys) append(device_, *own_keys, layers_[layer].own_keys);
}

void add_attention(const AttentionQueries::Layer& layer, std::span<const float> source_keys, const AttentionSpec& spec,
                   const AttentionRows& rows, float share, std::span<float> out, Interrupt* interrupt) {
  const int queries_per_key = spec.n_heads / spec.kv.n_kv_heads;
  const float of_head = share / static_cast<float>(spec.n_heads);
  std::vector<float> scores;
  for (int64_t i = 0; i < rows.n; ++i) {
    if (interrupt != nullptr && interrupt->poll()) throw Cancelled();
    const int64_t position = rows.first + i;
    const std::span<float> row =
        out.subspan(static_cast<size_t>(i * rows.n_source), static_cast<size_t>(rows.n_source));
    for (int head = 0; head < spec.n_heads; ++head) {
      const float* query = layer.queries.data() + (position * spec.n_heads + head) * spec.kv.head_dim;
      const int kv_head = head / queries_per_key;
      scores.clear();
      score(query, source_keys, 0, rows.n_source, kv_head, spec, scores);
      if (!layer.own_keys.empty()) {
        const int64_t first = std::max<int64_t>(0, position - spec.window.before);
        score(query, layer.own_keys, first, position + 1, kv_head, spec, scores);
      }
      if (scores.empty()) continue;
      softmax(scores);
      for (size_t j = 0; j < row.size(); ++j) row[j] += of_head * scores[j];
    }
  }
}

}  // namespace t5g
