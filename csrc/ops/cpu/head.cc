// The output head: all logits, or the largest one alone.
#include <algorithm>
#include <array>
#include <numeric>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/plane_matrix.h"

namespace t5g {
namespace {

constexpr int64_t kGroupsPerItem = 64;

}  // namespace

std::unique_ptr<Matrix> CpuOps::load_head(const WeightView& weight) {
  if (!PlaneMatrix::suits(weight)) return load(weight);
  return std::make_unique<PlaneMatrix>(weight);
}

void CpuOps::head(Tensor x, const Matrix& weight, Tensor logits) {
  const auto* matrix = dynamic_cast<const PlaneMatrix*>(&weight);
  if (matrix == nullptr) return linear(x, {{&weight, logits}});
  if (x.rows == 0) return;
  matrix->pack(pool_, interrupt_);
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
      interrupt_);
}

bool CpuOps::best_of_head(Tensor x, const Matrix& weight, float softcap, std::span<BestQuery> queries) {
  const auto* matrix = dynamic_cast<const PlaneMatrix*>(&weight);
  if (matrix == nullptr || !search_.pays(x.rows)) return false;
  matrix->pack(pool_, interrupt_);
  if (!matrix->finite()) return false;
  return search_.run(*matrix, quantize(x), softcap, queries, interrupt_);
}

}  // namespace t5g
