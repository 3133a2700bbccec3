// Splitting, by items of a few groups.
#include "ops/cpu/plane_matrix.h"

#include <algorithm>
#include <atomic>

#include "kernels/cpu/planes.h"
#include "ops/cpu/weight_groups.h"

namespace t5g {
namespace {

constexpr int64_t kPackGroups = 32;
// Below, all of the matrix is in a cache, and looking twice costs more than it saves.
constexpr int64_t kMinValues = int64_t{4} << 20;

}  // namespace

bool PlaneMatrix::suits(const WeightView& weight) {
  return weight.type == DataType::kQ8_0 && weight.rows * weight.cols >= kMinValues;
}

void PlaneMatrix::pack(ThreadPool& pool, Interrupt* interrupt) const {
  if (coarse_.data() != nullptr) return;
  const auto groups = static_cast<size_t>(n_groups());
  Buffer coarse(groups * kernels::coarse_group_bytes(cols())), fine(groups * kernels::fine_group_bytes(cols()));
  Buffer norms(groups * kernels::norm_group_bytes(cols()));
  std::atomic<bool> finite{true};
  const auto split = [&](int64_t group, const std::byte* data, int64_t n_rows) {
    const auto at = static_cast<size_t>(group);
    if (!kernels::pack_planes(data, n_rows, cols(), 0, coarse.data() + at * kernels::coarse_group_bytes(cols()),
                              fine.data() + at * kernels::fine_group_bytes(cols()),
                              reinterpret_cast<uint8_t*>(norms.data()) + at * kernels::norm_group_bytes(cols())))
      finite.store(false, std::memory_order_relaxed);
  };
  pool.parallel_for((n_groups() + kPackGroups - 1) / kPackGroups,
                    [&](int64_t item, int) {
                      for_groups_of(weight_, item * kPackGroups, std::min((item + 1) * kPackGroups, n_groups()), split);
                    },
                    interrupt);
  coarse_ = std::move(coarse);
  fine_ = std::move(fine);
  norms_ = std::move(norms);
  finite_ = finite.load();
  drop_copy();
}

kernels::Planes PlaneMatrix::planes() const {
  return {coarse_.data(), fine_.data(), reinterpret_cast<const uint8_t*>(norms_.data()), rows(), cols()};
}

}  // namespace t5g
