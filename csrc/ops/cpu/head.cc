// The output head: all logits, or the largest one alone.
#include <algorithm>

#include "kernels/planes.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/plane_matrix.h"

namespace t5g {
namespace {

// Groups that are put together and multiplied at a time: a tile of the matrix product, small enough for the caches.
constexpr int64_t kJoinGroups = 2;
constexpr int64_t kGroupsPerItem = 64;
// For so few rows of activations, putting groups together takes longer than scoring their rows from both planes.
constexpr int64_t kFewRows = 2;

void prefetch(const std::byte* from, size_t size_bytes) {
  for (size_t i = 0; i < size_bytes; i += 64) __builtin_prefetch(from + i);
}

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
  const kernels::Planes planes = matrix->planes();
  const kernels::QuantizedRows x_q = quantize(x);
  if (x.rows <= kFewRows) return head_of_few(planes, x_q, logits);
  const auto multiply = kernels_.matmul[static_cast<size_t>(DataType::kQ8_0)];
  const size_t group_bytes = kernels::kGroupRows * row_bytes(DataType::kQ8_0, weight.cols());
  const size_t thread_bytes = kJoinGroups * group_bytes;
  if (joined_.size_bytes() < static_cast<size_t>(pool_.n_threads()) * thread_bytes)
    joined_ = Buffer(static_cast<size_t>(pool_.n_threads()) * thread_bytes);
  pool_.parallel_for((matrix->n_groups() + kGroupsPerItem - 1) / kGroupsPerItem,
                     [&](int64_t item, int thread) {
                       std::byte* joined = joined_.data() + static_cast<size_t>(thread) * thread_bytes;
                       const int64_t last = std::min((item + 1) * kGroupsPerItem, matrix->n_groups());
                       for (int64_t group = item * kGroupsPerItem; group < last; group += kJoinGroups) {
                         const int64_t count = std::min(kJoinGroups, last - group), row = group * kernels::kGroupRows;
                         for (int64_t i = 0; i < count; ++i)
                           kernels_.join_planes(planes, group + i, joined + static_cast<size_t>(i) * group_bytes);
                         kernels::MatmulArgs args{};
                         args.weight = joined;
                         args.group_end = count;
                         args.n = std::min(weight.rows() - row, count * kernels::kGroupRows);
                         args.k = weight.cols();
                         args.m = x.rows;
                         args.x_q = x_q;
                         args.y = logits.data + row;
                         args.ldy = logits.cols;
                         multiply(args);
                       }
                     },
                     interrupt_);
}

// Both planes are read once, group by group, each scored for every row of activations.
void CpuOps::head_of_few(const kernels::Planes& planes, const kernels::QuantizedRows& x, Tensor logits) {
  const auto k = static_cast<size_t>(planes.k), n_blocks = k / kernels::kBlock;
  const size_t input_bytes = k + n_blocks * sizeof(float);
  if (joined_.size_bytes() < kFewRows * input_bytes) joined_ = Buffer(kFewRows * input_bytes);
  kernels::PlaneInput inputs[kFewRows];
  for (int64_t i = 0; i < logits.rows; ++i) {
    const auto at = static_cast<size_t>(i);
    auto* values = reinterpret_cast<int8_t*>(joined_.data() + at * input_bytes);
    auto* norms = reinterpret_cast<float*>(values + k);
    kernels::prepare_plane_input(x, i, planes.k, values, norms);
    inputs[i] = {values, x.scales + at * n_blocks, x.sums + at * n_blocks, norms};
  }
  const int64_t n_groups = (planes.n + kernels::kGroupRows - 1) / kernels::kGroupRows;
  const size_t coarse_bytes = kernels::coarse_group_bytes(planes.k), fine_bytes = kernels::fine_group_bytes(planes.k);
  pool_.parallel_for((n_groups + kGroupsPerItem - 1) / kGroupsPerItem,
                     [&](int64_t item, int) {
                       const int64_t last = std::min((item + 1) * kGroupsPerItem, n_groups);
                       for (int64_t group = item * kGroupsPerItem; group < last; ++group) {
                         if (group + 1 < n_groups) {
                           prefetch(planes.coarse + static_cast<size_t>(group + 1) * coarse_bytes, coarse_bytes);
                           prefetch(planes.fine + static_cast<size_t>(group + 1) * fine_bytes, fine_bytes);
                         }
                         int32_t rows[kernels::kGroupRows];
                         const int64_t first = group * kernels::kGroupRows;
                         const auto count = static_cast<int>(std::min<int64_t>(kernels::kGroupRows, planes.n - first));
                         for (int i = 0; i < count; ++i) rows[i] = static_cast<int32_t>(first + i);
                         for (int64_t i = 0; i < logits.rows; ++i)
                           kernels_.score_rows(planes, inputs[i], rows, count, logits.row(i) + first);
                       }
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
