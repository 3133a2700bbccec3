// The best of a row with a rising threshold: values above the k-th best so far go to a buffer of 2 k, which is cut to
// its best k whenever it is full. Nearly all blocks of a large row have no such value.
#include "ops/selection.h"

#include <algorithm>
#include <limits>

namespace t5g {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

// Values that are looked at together, in loops without branches, of fixed length, for the compiler's vectors.
constexpr size_t kBlock = 32;
using Block = std::span<const float, kBlock>;

bool any_above(Block values, float threshold) {
  int any = 0;
  for (const float x : values) any |= x > threshold;
  return any != 0;
}

bool any_equal(Block values, float value) {
  int any = 0;
  for (const float x : values) any |= x == value;
  return any != 0;
}

// Calls body(id) for the ids from `first` on, in ascending order, but for blocks about which look(block) is false.
template <typename Look, typename Body>
void for_each_in_blocks(std::span<const float> row, size_t first, Look look, Body body) {
  for (; first + kBlock <= row.size(); first += kBlock) {
    if (!look(row.subspan(first).first<kBlock>())) continue;
    for (size_t id = first; id < first + kBlock; ++id) body(id);
  }
  for (; first < row.size(); ++first) body(first);
}

}  // namespace

void select_best(std::span<const float> row, size_t k, bool with_ties, std::span<const int32_t> skip,
                 std::vector<ScoredToken>& out) {
  out.clear();
  k = std::min(k, row.size());
  if (k == 0) return;
  out.reserve(2 * k);
  const auto cut = [&] {
    std::nth_element(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(k - 1), out.end(), better);
    out.resize(k);
  };
  const auto skipped = [&](size_t id) {
    return std::binary_search(skip.begin(), skip.end(), static_cast<int32_t>(id));
  };
  // Ids rise, so a value equal to the threshold loses to the one that set it.
  float threshold = kNone;
  for_each_in_blocks(
      row, 0, [&](Block block) { return any_above(block, threshold); },
      [&](size_t id) {
        if (!(row[id] > threshold) || skipped(id)) return;
        out.push_back({row[id], static_cast<int32_t>(id)});
        if (out.size() < 2 * k) return;
        cut();
        threshold = out[k - 1].value;
      });
  if (out.size() > k) cut();
  std::sort(out.begin(), out.end(), better);
  if (!with_ties || out.size() < k) return;
  const ScoredToken last = out.back();
  for_each_in_blocks(
      row, static_cast<size_t>(last.id) + 1, [&](Block block) { return any_equal(block, last.value); },
      [&](size_t id) {
        if (row[id] == last.value && !skipped(id)) out.push_back({row[id], static_cast<int32_t>(id)});
      });
}

void keep_allowed(std::span<float> row, std::span<const uint32_t> allowed) {
  if (allowed.empty()) return;
  for (size_t first = 0; first < row.size(); first += 32) {
    const uint32_t word = first / 32 < allowed.size() ? allowed[first / 32] : 0;
    if (word == ~uint32_t{0}) continue;
    const size_t n = std::min<size_t>(32, row.size() - first);
    for (size_t i = 0; i < n; ++i) row[first + i] = (word >> i & 1) != 0 ? row[first + i] : kNone;
  }
}

void answer(std::span<float> row, std::optional<float> log_sum_exp, Selection& selection) {
  selection.found_log_sum_exp = log_sum_exp;
  if (!selection.all.empty() && selection.all.data() != row.data())
    std::copy(row.begin(), row.end(), selection.all.begin());
  if (selection.kind == LogitKind::kLogProbabilities) {
    const float sum = log_sum_exp.value();
    for (float& x : row) x -= sum;
  }
  select_best(row, selection.n_top, false, {}, selection.top);
  selection.values.resize(selection.ids.size());
  for (size_t i = 0; i < selection.ids.size(); ++i)
    selection.values[i] = selection.ids[i] >= 0 && selection.ids[i] < std::ssize(row)
                              ? row[static_cast<size_t>(selection.ids[i])]
                              : kNone;
  if (selection.n_best > 0) keep_allowed(row, selection.allowed);
  select_best(row, selection.n_best, selection.with_ties, selection.ids, selection.best);
}

}  // namespace t5g
