// Splitting, by items of a few groups; their pages in the file are given back at once.
#include "ops/cpu/plane_matrix.h"

#include <algorithm>
#include <atomic>

#include "kernels/cpu/planes.h"

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
  pool.parallel_for((n_groups() + kPackGroups - 1) / kPackGroups,
                    [&](int64_t item, int) {
                      const int64_t begin = item * kPackGroups, end = std::min(begin + kPackGroups, n_groups());
                      for (int64_t group = begin; group < end; ++group) {
                        if (!kernels::pack_planes(weight_.bytes.data(), rows(), cols(), group, coarse.data(),
                                                  fine.data(), reinterpret_cast<uint8_t*>(norms.data())))
                          finite.store(false, std::memory_order_relaxed);
                      }
                      if (weight_.file != nullptr) {
                        const size_t bytes_per_row = row_bytes(weight_.type, cols());
                        const auto first = static_cast<size_t>(begin * kernels::kGroupRows) * bytes_per_row;
                        const auto last =
                            static_cast<size_t>(std::min(end * kernels::kGroupRows, rows())) * bytes_per_row;
                        weight_.file->release(weight_.bytes.subspan(first, last - first));
                      }
                    },
                    interrupt);
  coarse_ = std::move(coarse);
  fine_ = std::move(fine);
  norms_ = std::move(norms);
  finite_ = finite.load();
}

kernels::Planes PlaneMatrix::planes() const {
  return {coarse_.data(), fine_.data(), reinterpret_cast<const uint8_t*>(norms_.data()), rows(), cols()};
}

}  // namespace t5g
