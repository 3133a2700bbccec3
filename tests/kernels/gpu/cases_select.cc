// Questions about rows of logits.
#include <limits>

#include "cases.h"

namespace t5g::gpu::test {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

// Rows of logits with ties, NaN and -infinity; ids set apart, one beyond the vocabulary.
void test_rows_of(uint32_t rows, uint32_t vocab, uint32_t n_best) {
  const std::string what = "select " + std::to_string(rows) + " x " + std::to_string(vocab);
  Random random(vocab);
  Values logits(size_t{rows} * vocab);
  for (float& x : logits) x = std::round(random.uniform(-60, 60)) / 4;
  if (vocab > 40) {
    logits[7] = NAN;
    logits[9] = kNone;
  }
  std::vector<int32_t> apart;
  std::vector<uint32_t> first = {0}, less;
  for (uint32_t i = 0; i < rows; ++i) {
    for (uint32_t id = i; id < vocab; id += 37) apart.push_back(static_cast<int32_t>(id));
    apart.push_back(static_cast<int32_t>(vocab) + 3);
    first.push_back(static_cast<uint32_t>(apart.size()));
    less.push_back(vocab > 40 && i == 0 ? 0 : i % 2);
  }
  const uint32_t groups = divide_up(vocab, kSearchCols);
  const Memory<float> d_logits(logits), values(apart.size()), partial(size_t{rows} * groups * 2), sums(size_t{rows});
  const Memory<int32_t> ids(apart);
  const Memory<uint32_t> starts(first), d_less(less);
  const Memory<Scored> found(size_t{rows} * groups * n_best), best(size_t{rows} * n_best);
  const SelectArgs args{d_logits.data(), {ids.data(), starts.data()},
                        values.data(),   found.data(),
                        best.data(),     partial.data(),
                        sums.data(),     d_less.data(),
                        vocab,           groups,
                        n_best,          rows};
  launch(KernelId::log_sum_exp, {groups, rows}, args);
  launch(KernelId::log_sum_exp_merge, {rows}, args);
  launch(KernelId::pick_logits, {rows}, args);
  launch(KernelId::best_logits, {groups, rows}, args);
  launch(KernelId::best_merge, {rows}, args);
  for (uint32_t i = 0; i < rows; ++i) {
    const float* row = logits.data() + size_t{i} * vocab;
    double sum = 0;
    for (uint32_t j = 0; j < vocab; ++j) sum += std::exp(double{row[j]} - 15);
    if (vocab <= 40 || i > 0) check(std::abs(sums[i] - 15 - std::log(sum)) < 2e-6, what + " log_sum_exp", sums[i]);
    const float less_by = less[i] != 0 ? sums[i] : 0;
    std::vector<Scored> expected;
    for (uint32_t j = 0, a = first[i]; j < vocab; ++j) {
      if (apart[a] == static_cast<int32_t>(j)) {
        const float value = row[j] - less_by;
        check(values[a] == value || std::isnan(value), what + " pick_logits", values[a]);
        ++a;
      } else if (row[j] > kNone) {
        expected.push_back({row[j] - less_by, static_cast<int32_t>(j)});
      }
    }
    check(values[first[i + 1] - 1] == kNone, what + " pick_logits: no token");
    std::sort(expected.begin(), expected.end(),
              [](Scored a, Scored b) { return a.value > b.value || (a.value == b.value && a.id < b.id); });
    for (uint32_t n = 0; n < n_best; ++n) {
      const Scored have = best[size_t{i} * n_best + n];
      const Scored want = n < expected.size() ? expected[n] : Scored{kNone, -1};
      check(have.id == want.id && have.value == want.value, what + " best " + std::to_string(n), have.id);
    }
  }
}

}  // namespace

void test_select() {
  test_rows_of(1, 1, 1);
  test_rows_of(3, 20, 30);
  test_rows_of(2, 5000, 9);
  test_rows_of(1, 20000, 1);
}

}  // namespace t5g::gpu::test
