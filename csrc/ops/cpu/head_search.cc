// Two passes over the groups, each one parallel loop: bounds, then the few exact scores.
#include "ops/cpu/head_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/cpu/planes.h"

namespace t5g {
namespace {

using kernels::kBlock;
using kernels::kGroupRows;

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr int64_t kGroupsPerItem = 64;
// Groups bounded or scored at a time: their results stay in the first cache.
constexpr size_t kGroupsPerCall = 16;
constexpr size_t kScratch = HeadSearch::kMaxQueries * kGroupsPerCall * kGroupRows;
// Groups with large bounds that are scored for a threshold, of each query.
constexpr size_t kTopGroups = 4;
// When more than one group in so many may win, computing all logits is as fast.
constexpr int64_t kMaxScoredShare = 4;
// More blocks are taken from both planes when more than one group in kManyShare was scored, fewer when less than one in
// kFewShare was.
constexpr int64_t kManyShare = 12, kFewShare = 100;
constexpr int kLongestPause = 64;
// Tokens by themselves that a thread takes at a time.
constexpr size_t kApartPerItem = 32;

bool is_allowed(std::span<const uint32_t> allowed, int64_t row) {
  const auto word = static_cast<size_t>(row / 32);
  return allowed.empty() || (word < allowed.size() && (allowed[word] >> (row % 32) & 1) != 0);
}

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
  prepare(matrix, x, queries.size());
  pool_.parallel_for(n_items_, [&](int64_t item, int) { bound(static_cast<size_t>(item), queries); }, interrupt);
  find_thresholds(queries, softcap);
  n_scored_ = 0;
  pool_.parallel_for(
      n_items_,
      [&](int64_t item, int thread) {
        refine(static_cast<size_t>(item), static_cast<size_t>(thread), queries, softcap);
      },
      interrupt);
  if (!adapt()) return false;

  for (size_t i = 0; i < queries.size(); ++i) {
    Best best{kNone, -1};
    for (size_t t = 0; t < static_cast<size_t>(pool_.n_threads()); ++t) {
      const Best& other = bests_[t * queries.size() + i];
      if (other.score > best.score || (other.score == best.score && other.row < best.row)) best = other;
    }
    queries[i].best = best.row;
    queries[i].best_logit = best.score;
    score_apart(i, queries[i], 0, queries[i].apart.size(), softcap);
  }
  return true;
}

void HeadSearch::prepare(const PlaneMatrix& matrix, const kernels::QuantizedRows& x, size_t n_queries) {
  measure(matrix, x, n_queries);
  n_groups_ = matrix.n_groups();
  n_items_ = (n_groups_ + kGroupsPerItem - 1) / kGroupsPerItem;
  bounds_.resize(n_queries * static_cast<size_t>(n_groups_));
  tops_.resize(n_queries * static_cast<size_t>(n_items_));
  thresholds_.resize(n_queries);
  bests_.assign(n_queries * static_cast<size_t>(pool_.n_threads()), {kNone, -1});
  choose_exact_blocks(n_queries);
}

void HeadSearch::measure(const PlaneMatrix& matrix, const kernels::QuantizedRows& x, size_t n_queries) {
  planes_ = matrix.planes();
  const size_t n_blocks = static_cast<size_t>(planes_.k / kBlock);
  norms_.resize(n_queries * n_blocks);
  offsets_.resize(n_queries * n_blocks);
  kernels::measure_plane_input(x, static_cast<int64_t>(n_queries), planes_.k, norms_.data(), offsets_.data());
  x_ = {x, norms_.data(), offsets_.data()};
}

// Where the activations are largest, what the coarse plane leaves open weighs most.
void HeadSearch::choose_exact_blocks(size_t n_queries) {
  const auto n_blocks = static_cast<size_t>(planes_.k / kBlock);
  if (n_exact_ < 0) n_exact_ = static_cast<int64_t>(n_blocks / 4);
  shares_.assign(n_blocks, 0.0f);
  exact_.assign(n_blocks, 0);
  order_.resize(n_blocks);
  for (size_t i = 0; i < n_queries; ++i) {
    const float* norms = norms_.data() + i * n_blocks;
    const float total = std::accumulate(norms, norms + n_blocks, 0.0f);
    for (size_t b = 0; b < n_blocks && total > 0; ++b) shares_[b] += norms[b] / total;
  }
  std::iota(order_.begin(), order_.end(), 0);
  const auto share_of = [&](int32_t block) {
    const float share = shares_[static_cast<size_t>(block)];
    return std::isnan(share) ? 0.0f : share;
  };
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) { return share_of(a) > share_of(b); });
  for (size_t i = 0; i < std::min(static_cast<size_t>(n_exact_), n_blocks); ++i)
    exact_[static_cast<size_t>(order_[i])] = 1;
}

// Bounds of one item's groups; rows that are set apart and rows that do not exist get none.
void HeadSearch::bound(size_t item, std::span<const BestQuery> queries) {
  const int64_t begin = static_cast<int64_t>(item) * kGroupsPerItem, end = std::min(begin + kGroupsPerItem, n_groups_);
  constexpr auto kStep = static_cast<int64_t>(kGroupsPerCall);
  std::array<float, kScratch> rows;
  for (int64_t first = begin; first < end; first += kStep) {
    const int64_t last = std::min(first + kStep, end), ldb = (last - first) * kGroupRows;
    kernels_.bound_groups({planes_, first, last, std::ssize(queries), x_, exact_.data(), rows.data(), ldb,
                           bounds_.data() + first, n_groups_});
    const int64_t first_row = first * kGroupRows, end_row = std::min(last * kGroupRows, planes_.n);
    for (size_t i = 0; i < queries.size(); ++i) {
      float* query_rows = rows.data() + static_cast<int64_t>(i) * ldb;
      const auto drop = [&](int64_t row) {
        query_rows[row - first_row] = kNone;
        const float* group = query_rows + (row - first_row) / kGroupRows * kGroupRows;
        bounds_[i * static_cast<size_t>(n_groups_) + static_cast<size_t>(row / kGroupRows)] =
            *std::max_element(group, group + kGroupRows);
      };
      for (int64_t row = end_row; row < last * kGroupRows; ++row) drop(row);
      const std::span<const int32_t> apart = queries[i].apart;
      for (auto id = std::lower_bound(apart.begin(), apart.end(), first_row); id != apart.end() && *id < end_row; ++id)
        drop(*id);
      if (!queries[i].allowed.empty()) keep_allowed_bounds(queries[i].allowed, i, first, last, query_rows);
    }
  }
  for (size_t i = 0; i < queries.size(); ++i) {
    const float* bounds = bounds_.data() + i * static_cast<size_t>(n_groups_);
    const float* top = std::max_element(bounds + begin, bounds + end);
    tops_[i * static_cast<size_t>(n_items_) + item] = {*top, static_cast<int32_t>(top - bounds)};
  }
}

// Groups with tokens that are not allowed get the bound of the others. rows: bounds of the rows of groups [first,
// last).
void HeadSearch::keep_allowed_bounds(std::span<const uint32_t> allowed, size_t query, int64_t first, int64_t last,
                                     const float* rows) {
  static_assert(kGroupRows == 16);  // two groups to a word
  for (int64_t group = first; group < last; ++group, rows += kGroupRows) {
    const auto word = static_cast<size_t>(group / 2);
    const uint32_t bits = word < allowed.size() ? allowed[word] >> (group % 2 * kGroupRows) & 0xffff : 0;
    if (bits == 0xffff) continue;
    float bound = kNone;
    for (int i = 0; i < kGroupRows; ++i) bound = std::max(bound, (bits >> i & 1) != 0 ? rows[i] : kNone);
    bounds_[query * static_cast<size_t>(n_groups_) + static_cast<size_t>(group)] = bound;
  }
}

// Groups of which the bound is below this have no winner: the exact score of some promising row, soft cap undone.
void HeadSearch::find_thresholds(std::span<const BestQuery> queries, float softcap) {
  const auto items = static_cast<size_t>(n_items_), count = std::min(kTopGroups, items);
  std::array<float, kScratch> scores;
  for (size_t i = 0; i < queries.size(); ++i) {
    const std::span<Top> tops(tops_.data() + i * items, items);
    std::partial_sort(tops.begin(), tops.begin() + static_cast<std::ptrdiff_t>(count), tops.end(),
                      [](const Top& a, const Top& b) { return a.bound > b.bound; });
    std::array<int32_t, kTopGroups> groups;
    for (size_t j = 0; j < count; ++j) groups[j] = tops[j].group;
    score({groups.data(), count}, i, 1, 0.0f, scores.data());
    Best best{kNone, -1};
    raise({groups.data(), count}, scores.data(), queries.subspan(i, 1), &best);
    thresholds_[i] = best.row < 0 ? kNone : before_softcap(best.score, softcap);
  }
}

void HeadSearch::refine(size_t item, size_t thread, std::span<const BestQuery> queries, float softcap) {
  const int64_t begin = static_cast<int64_t>(item) * kGroupsPerItem, end = std::min(begin + kGroupsPerItem, n_groups_);
  std::array<int32_t, kGroupsPerCall> groups;
  std::array<float, kScratch> scores;
  size_t count = 0;
  const auto could_win = [&](int64_t group) {
    for (size_t i = 0; i < queries.size(); ++i) {
      const float bound = bounds_[i * static_cast<size_t>(n_groups_) + static_cast<size_t>(group)];
      if (!(bound < thresholds_[i] || bound == kNone)) return true;  // written so that NaN is looked into
    }
    return false;
  };
  for (int64_t group = begin; group < end; ++group) {
    if (could_win(group)) groups[count++] = static_cast<int32_t>(group);
    if (count == 0 || (count < kGroupsPerCall && group + 1 < end)) continue;
    const int64_t before = n_scored_.fetch_add(static_cast<int64_t>(count), std::memory_order_relaxed);
    if (before > n_groups_ / kMaxScoredShare) return;
    const std::span<const int32_t> now(groups.data(), count);
    score(now, 0, queries.size(), softcap, scores.data());
    raise(now, scores.data(), queries, bests_.data() + thread * queries.size());
    count = 0;
  }
}

// Whether the search found what it was asked for, and what the next one should do otherwise.
bool HeadSearch::adapt() {
  const int64_t n_blocks = planes_.k / kBlock;
  if (n_scored_ > n_groups_ / kMaxScoredShare) {
    n_exact_ = std::min(n_exact_ + (n_blocks + 7) / 8, n_blocks);
    rest_ = pause_;
    pause_ = std::min(2 * pause_, kLongestPause);
    return false;
  }
  pause_ = std::max(1, pause_ / 2);
  if (n_scored_ > n_groups_ / kManyShare) n_exact_ = std::min(n_exact_ + 1, n_blocks);
  if (n_scored_ < n_groups_ / kFewShare) n_exact_ = std::max(n_exact_ - 1, int64_t{0});
  return true;
}

void HeadSearch::score(std::span<const int32_t> groups, size_t first, size_t n_queries, float softcap, float* scores) {
  const int64_t query = static_cast<int64_t>(first), block = query * (planes_.k / kBlock);
  const kernels::QuantizedRows x{x_.q.values + query * planes_.k, x_.q.scales + block, x_.q.sums + block};
  const int64_t ldy = std::ssize(groups) * kGroupRows, size = static_cast<int64_t>(n_queries) * ldy;
  std::fill_n(scores, size, kNone);  // what stands for rows that do not exist
  kernels_.score_groups({planes_, groups.data(), std::ssize(groups), static_cast<int64_t>(n_queries), x, scores, ldy});
  if (softcap > 0) kernels_.softcap(scores, size, softcap);
}

void HeadSearch::raise(std::span<const int32_t> groups, const float* scores, std::span<const BestQuery> queries,
                       Best* bests) {
  for (size_t i = 0; i < queries.size(); ++i) {
    const std::span<const int32_t> apart = queries[i].apart;
    for (const int32_t group : groups) {
      for (int32_t row = group * kGroupRows; row < (group + 1) * kGroupRows; ++row, ++scores) {
        const bool better = *scores > bests[i].score || (*scores == bests[i].score && row < bests[i].row);
        if (better && row < planes_.n && is_allowed(queries[i].allowed, row) &&
            !std::binary_search(apart.begin(), apart.end(), row))
          bests[i] = {*scores, row};
      }
    }
  }
}

void HeadSearch::score_apart(size_t query, BestQuery& q, size_t begin, size_t last, float softcap) {
  std::array<int32_t, kGroupsPerCall> groups;
  std::array<float, kScratch> scores;
  for (size_t end = begin; begin < last; begin = end) {
    size_t count = 0;
    for (; end < last; ++end) {
      const int32_t group = q.apart[end] / kGroupRows;
      if (count > 0 && groups[count - 1] == group) continue;
      if (count == kGroupsPerCall) break;
      groups[count++] = group;
    }
    score({groups.data(), count}, query, 1, softcap, scores.data());
    for (size_t i = begin, g = 0; i < end; ++i) {
      while (groups[g] != q.apart[i] / kGroupRows) ++g;
      q.apart_logits[i] = scores[g * kGroupRows + static_cast<size_t>(q.apart[i] % kGroupRows)];
    }
  }
}

void HeadSearch::run_apart(const PlaneMatrix& matrix, const kernels::QuantizedRows& x, float softcap,
                           std::span<BestQuery> queries, Interrupt* interrupt) {
  measure(matrix, x, queries.size());
  size_t longest = 0;
  for (const BestQuery& q : queries) longest = std::max(longest, q.apart.size());
  const size_t parts = (longest + kApartPerItem - 1) / kApartPerItem;
  pool_.parallel_for(
      static_cast<int64_t>(parts * queries.size()),
      [&](int64_t item, int) {
        const size_t query = static_cast<size_t>(item) / parts;
        const size_t begin = static_cast<size_t>(item) % parts * kApartPerItem, size = queries[query].apart.size();
        if (begin < size) score_apart(query, queries[query], begin, std::min(begin + kApartPerItem, size), softcap);
      },
      interrupt);
}

}  // namespace t5g
