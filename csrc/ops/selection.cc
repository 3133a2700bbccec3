// The best of a row with a rising threshold: values above the k-th best so far go to a buffer of 2 k, which is cut to
// its best k whenever it is full. Nearly all of a large row fails one comparison.
#include "ops/selection.h"

#include <algorithm>
#include <limits>

namespace t5g {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

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
  // Calls body(id) for all ids that are not skipped, in ascending order.
  const auto each = [&](auto body) {
    size_t begin = 0;
    for (const int32_t skipped : skip) {
      const size_t end = std::min(static_cast<size_t>(skipped), row.size());
      for (size_t id = begin; id < end; ++id) body(id);
      begin = std::max(begin, end + 1);
    }
    for (size_t id = begin; id < row.size(); ++id) body(id);
  };
  // Ids rise, so a value equal to the threshold loses to the one that set it.
  float threshold = kNone;
  each([&](size_t id) {
    if (!(row[id] > threshold)) return;
    out.push_back({row[id], static_cast<int32_t>(id)});
    if (out.size() == 2 * k) {
      cut();
      threshold = out[k - 1].value;
    }
  });
  if (out.size() > k) cut();
  std::sort(out.begin(), out.end(), better);
  if (!with_ties || out.size() < k) return;
  const ScoredToken last = out.back();
  each([&](size_t id) {
    if (row[id] == last.value && static_cast<int32_t>(id) > last.id) out.push_back({row[id], static_cast<int32_t>(id)});
  });
}

void answer(std::span<float> row, std::optional<float> log_sum_exp, Selection& selection) {
  selection.found_log_sum_exp = log_sum_exp;
  if (!selection.all.empty() && selection.all.data() != row.data())
    std::copy(row.begin(), row.end(), selection.all.begin());
  if (selection.kind == LogitKind::kLogProbabilities) {
    const float sum = log_sum_exp.value();
    for (float& x : row) x -= sum;
  }
  selection.values.resize(selection.ids.size());
  for (size_t i = 0; i < selection.ids.size(); ++i)
    selection.values[i] = selection.ids[i] >= 0 && selection.ids[i] < std::ssize(row)
                              ? row[static_cast<size_t>(selection.ids[i])]
                              : kNone;
  select_best(row, selection.n_best, selection.with_ties, selection.ids, selection.best);
}

}  // namespace t5g
