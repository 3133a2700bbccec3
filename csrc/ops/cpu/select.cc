// What is asked of the output head: some logits alone are computed by themselves, the largest one is searched for,
// where that pays; for all else the logits are computed, and each row's questions answered on the thread that gets it.
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <utility>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/plane_matrix.h"

namespace t5g {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr int64_t kGroupsPerItem = 64;
// Rows of logits in memory at a time, 34 MB of them with the vocabulary of T5Gemma 2. Fewer would read the head more
// often for the batches that people run.
constexpr int64_t kLogitRows = 32;

// Whether the answer is some logits by themselves and at most one other token.
bool is_searchable(const Selection& s) {
  return s.n_best <= 1 && !s.with_ties && s.n_top == 0 && s.kind == LogitKind::kLogits && s.all.empty() &&
         s.log_sum_exp != LogSumExp::kYes;
}

// All rows' memory, where it is one block in the order of the rows.
float* destination(std::span<Selection* const> selections, int64_t cols) {
  float* const first = selections.front()->all.data();
  for (size_t i = 0; i < selections.size(); ++i) {
    const bool follows = selections[i]->all.data() == first + static_cast<int64_t>(i) * cols;
    if (selections[i]->all.empty() || !follows || selections[i]->kind != LogitKind::kLogits) return nullptr;
  }
  return first;
}

// As answer() does, with the kernel that is made for it: this is every greedy step.
void answer_best(const kernels::KernelTable& kernels, HostTensor row, Selection& s) {
  s.values.resize(s.ids.size());
  for (size_t i = 0; i < s.ids.size(); ++i)
    s.values[i] = s.ids[i] < row.cols ? std::exchange(row.data[s.ids[i]], kNone) : kNone;
  s.best.clear();
  s.top.clear();
  if (s.n_best == 0) return;
  keep_allowed({row.data, static_cast<size_t>(row.cols)}, s.allowed);
  const int64_t best = kernels.argmax(row.data, row.cols);
  if (row.data[best] > kNone) s.best.push_back({row.data[best], static_cast<int32_t>(best)});
}

void answer_row(const kernels::KernelTable& kernels, HostTensor row, Selection& s) {
  s.found_log_sum_exp.reset();
  if (s.log_sum_exp != LogSumExp::kNo || s.kind == LogitKind::kLogProbabilities)
    s.found_log_sum_exp = kernels.log_sum_exp(row.data, row.cols);
  if (is_searchable(s)) return answer_best(kernels, row, s);
  answer({row.data, static_cast<size_t>(row.cols)}, s.found_log_sum_exp, s);
}

}  // namespace

CpuHead::CpuHead(const WeightView& weight, Arena& arena) : Head(weight) {
  if (PlaneMatrix::suits(weight)) {
    planes_ = std::make_unique<PlaneMatrix>(weight);
  } else {
    matrix_ = std::make_unique<CpuMatrix>(weight, arena);
  }
}

std::unique_ptr<Head> CpuOps::load_head(const WeightView& weight) { return std::make_unique<CpuHead>(weight, packed_); }

void CpuOps::select_adapted(Tensor x_rows, const Head& head, std::span<const LowRankProduct> products, float softcap,
                            std::span<Selection* const> selections) {
  const HostTensor x = on_host(x_rows);
  if (x.rows == 0) return;
  const auto& cpu_head = static_cast<const CpuHead&>(head);
  for (size_t i = 0; i < selections.size(); ++i) {
    Selection& s = *selections[i];
    if (s.keep_hidden) s.hidden.assign(x.row(static_cast<int64_t>(i)), x.row(static_cast<int64_t>(i)) + x.cols);
  }
  if (products.empty() && search(x, cpu_head, softcap, selections)) return;

  const int64_t cols = head.rows();
  for (int64_t first = 0; first < x.rows; first += kLogitRows) {
    const int64_t n = std::min(kLogitRows, x.rows - first);
    const auto block = selections.subspan(static_cast<size_t>(first), static_cast<size_t>(n));
    HostTensor logits{destination(block, cols), n, cols};
    if (logits.data == nullptr) {
      const size_t needed = static_cast<size_t>(logits.size()) * sizeof(float);
      if (logits_.size_bytes() < needed) logits_ = Buffer(needed);
      logits.data = logits_.floats();
    }
    const HostTensor rows{x.row(first), n, x.cols};
    all_logits(rows, cpu_head, logits);
    for (LowRankProduct product : products) {
      const int64_t end = std::min(product.first + product.n, first + n);
      product.first = std::max(product.first, first) - first;
      product.n = end - first - product.first;
      if (product.n > 0) add_low_rank(rows, product, logits);
    }
    if (softcap > 0) for_each_row(n, cols, [&](int64_t i) { kernels_.softcap(logits.row(i), cols, softcap); });
    pool_.parallel_for(
        n, [&](int64_t i, int) { answer_row(kernels_, {logits.row(i), 1, cols}, *block[static_cast<size_t>(i)]); },
        interrupt());
  }
}

void CpuOps::all_logits(HostTensor x, const CpuHead& head, HostTensor logits) {
  if (const PlaneMatrix* matrix = head.planes()) {
    matrix->pack(pool_, interrupt());
    const kernels::QuantizedRows x_q = quantize(x);
    pool_.parallel_for(
        (matrix->n_groups() + kGroupsPerItem - 1) / kGroupsPerItem,
        [&](int64_t item, int) {
          const int64_t first = item * kGroupsPerItem;
          std::array<int32_t, kGroupsPerItem> groups;
          std::iota(groups.begin(), groups.end(), static_cast<int32_t>(first));
          kernels_.score_groups({matrix->planes(), groups.data(), std::min(kGroupsPerItem, matrix->n_groups() - first),
                                 x.rows, x_q, logits.data + first * kernels::kGroupRows, logits.cols});
        },
        interrupt());
  } else {
    const Product product{head.matrix(), logits};
    multiply(x, {&product, 1});
  }
}

bool CpuOps::search(HostTensor x, const CpuHead& head, float softcap, std::span<Selection* const> selections) {
  const PlaneMatrix* matrix = head.planes();
  const auto searchable = [](const Selection* s) { return is_searchable(*s); };
  if (matrix == nullptr || !std::all_of(selections.begin(), selections.end(), searchable)) return false;
  const bool only_ids = std::ranges::all_of(selections, [](const Selection* s) { return s->n_best == 0; });
  if (!only_ids && !search_.pays(x.rows)) return false;
  matrix->pack(pool_, interrupt());
  if (!matrix->finite()) return false;
  queries_.clear();
  static constexpr uint32_t kNothing[1] = {0};
  for (Selection* s : selections) {
    s->values.assign(s->ids.size(), kNone);
    const auto known = std::lower_bound(s->ids.begin(), s->ids.end(), head.rows());
    queries_.push_back({.apart = {s->ids.begin(), known},
                        .apart_logits = s->values.data(),
                        .allowed = s->n_best > 0 ? s->allowed : std::span<const uint32_t>(kNothing)});
  }
  if (only_ids) {
    search_.run_apart(*matrix, quantize(x), softcap, queries_, interrupt());
  } else if (!search_.run(*matrix, quantize(x), softcap, queries_, interrupt())) {
    return false;
  }
  for (size_t i = 0; i < selections.size(); ++i) {
    selections[i]->found_log_sum_exp.reset();
    selections[i]->best.clear();
    selections[i]->top.clear();
    if (selections[i]->n_best > 0 && queries_[i].best >= 0)
      selections[i]->best.push_back({queries_[i].best_logit, static_cast<int32_t>(queries_[i].best)});
  }
  return true;
}

}  // namespace t5g
