// Two passes over the rows, each one parallel loop: bounds, then the few exact scores.
#include "ops/cpu/head_search.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/planes.h"

namespace t5g {
namespace {

using kernels::kBlock;
using kernels::kGroupRows;

constexpr float kNone = -std::numeric_limits<float>::infinity();
// From this many rows of activations on, one matrix product is the faster way.
constexpr int64_t kMaxQueries = 4;
constexpr int64_t kGroupsPerItem = 64;
// When one row in so many may win, computing all logits is as fast: an exact score, whose reads lie far apart, takes 10
// times as long as a bound.
constexpr int64_t kMaxScoredShare = 24;
constexpr int kLongestPause = 64;
// Rows that are collected before they are scored.
constexpr size_t kMaxWaiting = 256;

// The largest logit below which another one cannot, after the soft cap, come out equal to `logit` or above it. The cap
// is monotonic but for rounding, which kernels keep below 2^-20 of it.
float before_softcap(float logit, float cap) {
  if (cap <= 0) return logit;
  const double target = std::tanh(static_cast<double>(logit) / cap) - 0x1p-18;
  return target <= -1 ? kNone : std::nextafter(static_cast<float>(cap * std::atanh(target)), kNone);
}

}  // namespace

bool HeadSearch::pays(int64_t n_queries) {
  if (n_queries > kMaxQueries) return false;
  if (rest_ == 0) return true;
  --rest_;
  return false;
}

bool HeadSearch::run(const PlaneMatrix& matrix, const kernels::QuantizedRows& x, float softcap,
                     std::span<BestQuery> queries, Interrupt* interrupt) {
  planes_ = matrix.planes();
  n_groups_ = matrix.n_groups();
  n_items_ = (n_groups_ + kGroupsPerItem - 1) / kGroupsPerItem;
  prepare(x, queries.size());
  pool_.parallel_for(n_items_, [&](int64_t item, int) { bound(static_cast<size_t>(item), queries); }, interrupt);

  for (size_t i = 0; i < queries.size(); ++i) thresholds_[i] = threshold(i, softcap);
  n_scored_ = 0;
  pool_.parallel_for(
      n_items_,
      [&](int64_t item, int thread) {
        refine(static_cast<size_t>(item), static_cast<size_t>(thread), queries.size(), softcap);
      },
      interrupt);
  if (n_scored_ > planes_.n / kMaxScoredShare * static_cast<int64_t>(queries.size())) {
    rest_ = pause_;
    pause_ = std::min(2 * pause_, kLongestPause);
    return false;
  }
  pause_ = std::max(1, pause_ / 2);

  for (size_t i = 0; i < queries.size(); ++i) {
    Best best{kNone, -1};
    for (size_t t = 0; t < static_cast<size_t>(pool_.n_threads()); ++t) {
      const Best& other = bests_[t * queries.size() + i];
      if (other.score > best.score || (other.score == best.score && other.row < best.row)) best = other;
    }
    queries[i].best = best.row;
    queries[i].best_logit = best.score;
    score_apart(i, queries[i], softcap);
  }
  return true;
}

void HeadSearch::prepare(const kernels::QuantizedRows& x, size_t n_queries) {
  const auto k = static_cast<size_t>(planes_.k), n_blocks = k / kBlock, groups = static_cast<size_t>(n_groups_);
  const size_t input_bytes = k + n_blocks * sizeof(float), bound_floats = groups * (kGroupRows + 1);
  if (input_bytes_.size_bytes() < n_queries * input_bytes) input_bytes_ = Buffer(n_queries * input_bytes);
  if (bounds_bytes_.size_bytes() < n_queries * bound_floats * sizeof(float))
    bounds_bytes_ = Buffer(n_queries * bound_floats * sizeof(float));
  inputs_.resize(n_queries);
  bounds_.resize(n_queries);
  group_bounds_.resize(n_queries);
  thresholds_.resize(n_queries);
  tops_.resize(n_queries * static_cast<size_t>(n_items_));
  bests_.assign(n_queries * static_cast<size_t>(pool_.n_threads()), {kNone, -1});
  for (size_t i = 0; i < n_queries; ++i) {
    auto* values = reinterpret_cast<int8_t*>(input_bytes_.data() + i * input_bytes);
    auto* norms = reinterpret_cast<float*>(values + k);
    kernels::prepare_plane_input(x, static_cast<int64_t>(i), planes_.k, values, norms);
    inputs_[i] = {values, x.scales + i * n_blocks, x.sums + i * n_blocks, norms};
    bounds_[i] = bounds_bytes_.floats() + i * bound_floats;
    group_bounds_[i] = bounds_[i] + groups * kGroupRows;
  }
}

// Bounds of one item's groups; rows that are set apart and rows that do not exist get none.
void HeadSearch::bound(size_t item, std::span<const BestQuery> queries) {
  const int64_t begin = static_cast<int64_t>(item) * kGroupsPerItem, end = std::min(begin + kGroupsPerItem, n_groups_);
  kernels_.bound_groups(
      {planes_, begin, end, static_cast<int>(queries.size()), inputs_.data(), bounds_.data(), group_bounds_.data()});
  const int64_t first_row = begin * kGroupRows, end_row = std::min(end * kGroupRows, planes_.n);
  for (size_t i = 0; i < queries.size(); ++i) {
    float *rows = bounds_[i], *groups = group_bounds_[i];
    const auto drop = [&](int64_t row) {
      rows[row] = kNone;
      float* group = rows + row / kGroupRows * kGroupRows;
      groups[row / kGroupRows] = *std::max_element(group, group + kGroupRows);
    };
    for (int64_t row = end_row; row < end * kGroupRows; ++row) drop(row);
    const std::span<const int32_t> apart = queries[i].apart;
    for (auto id = std::lower_bound(apart.begin(), apart.end(), first_row); id != apart.end() && *id < end_row; ++id)
      drop(*id);
    const float* group = std::max_element(groups + begin, groups + end);
    const float* top = rows + (group - groups) * kGroupRows;
    top = std::max_element(top, top + kGroupRows);
    tops_[i * static_cast<size_t>(n_items_) + item] = {*top, static_cast<int32_t>(top - rows)};
  }
}

// Rows of which the bound is below this are not the best: the exact score of some promising rows, soft cap undone.
float HeadSearch::threshold(size_t query, float softcap) {
  const auto items = static_cast<size_t>(n_items_);
  const std::span<Best> tops(tops_.data() + query * items, items);
  const size_t count = std::min<size_t>(kGroupRows, items);
  std::partial_sort(tops.begin(), tops.begin() + static_cast<std::ptrdiff_t>(count), tops.end(),
                    [](const Best& a, const Best& b) { return a.score > b.score; });
  int32_t rows[kGroupRows];
  int n_rows = 0;
  for (const Best& top : tops.first(count)) {
    if (top.score > kNone) rows[n_rows++] = top.row;
  }
  float best = kNone;
  if (n_rows > 0) {
    float scores[kGroupRows];
    kernels_.score_rows(planes_, inputs_[query], rows, n_rows, scores);
    for (int i = 0; i < n_rows; ++i) best = std::max(best, scores[i]);
  }
  return best > kNone ? before_softcap(best, softcap) : kNone;
}

void HeadSearch::refine(size_t item, size_t thread, size_t n_queries, float softcap) {
  const int64_t begin = static_cast<int64_t>(item) * kGroupsPerItem, end = std::min(begin + kGroupsPerItem, n_groups_);
  const int64_t most = planes_.n / kMaxScoredShare * static_cast<int64_t>(n_queries);
  for (size_t i = 0; i < n_queries; ++i) {
    Best& best = bests_[thread * n_queries + i];
    const float threshold = thresholds_[i];
    int32_t rows[kMaxWaiting + kGroupRows];
    size_t n_rows = 0;
    for (int64_t group = begin; group < end && n_scored_.load(std::memory_order_relaxed) <= most; ++group) {
      if (group_bounds_[i][group] < threshold) continue;  // written so that NaN is looked into
      for (int64_t row = group * kGroupRows; row < (group + 1) * kGroupRows; ++row) {
        if (!(bounds_[i][row] < threshold || bounds_[i][row] == kNone)) rows[n_rows++] = static_cast<int32_t>(row);
      }
      if (n_rows >= kMaxWaiting) {
        score({rows, n_rows}, i, softcap, best);
        n_rows = 0;
      }
    }
    score({rows, n_rows}, i, softcap, best);
  }
}

// While some rows are scored, the next ones are on their way through the memory.
void HeadSearch::score(std::span<const int32_t> rows, size_t query, float softcap, Best& best) {
  const auto some = [&](size_t begin) {
    return rows.subspan(std::min(begin, rows.size()),
                        std::min<size_t>(kGroupRows, rows.size() - std::min(begin, rows.size())));
  };
  for (const int32_t row : some(0)) kernels::prefetch_row(planes_, row);
  for (size_t begin = 0; begin < rows.size(); begin += kGroupRows) {
    for (const int32_t row : some(begin + kGroupRows)) kernels::prefetch_row(planes_, row);
    const std::span<const int32_t> now = some(begin);
    float scores[kGroupRows];
    kernels_.score_rows(planes_, inputs_[query], now.data(), static_cast<int>(now.size()), scores);
    if (softcap > 0) kernels_.softcap(scores, std::ssize(now), softcap);
    for (size_t i = 0; i < now.size(); ++i) {
      const Best found{scores[i], now[i]};
      if (found.score > best.score || (found.score == best.score && found.row < best.row)) best = found;
    }
  }
  n_scored_.fetch_add(std::ssize(rows), std::memory_order_relaxed);
}

void HeadSearch::score_apart(size_t query, BestQuery& q, float softcap) {
  for (size_t begin = 0; begin < q.apart.size(); begin += kGroupRows) {
    const size_t count = std::min<size_t>(kGroupRows, q.apart.size() - begin);
    kernels_.score_rows(planes_, inputs_[query], q.apart.data() + begin, static_cast<int>(count),
                        q.apart_logits + begin);
  }
  if (softcap > 0 && !q.apart.empty()) kernels_.softcap(q.apart_logits, static_cast<int64_t>(q.apart.size()), softcap);
}

}  // namespace t5g
