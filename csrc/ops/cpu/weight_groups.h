// A weight's rows in the groups that kernels work on, for packing them: read a few at a time, so that what is read is
// still in the cache when it is packed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/function_ref.h"
#include "kernels/cpu/kernels.h"
#include "tensor/weight.h"

namespace t5g {

// Calls body(group, data, n_rows) for the groups [begin, end): n_rows rows lie at `data`, fewer than kGroupRows at the
// end of the matrix.
inline void for_groups_of(const WeightView& weight, int64_t begin, int64_t end,
                          FunctionRef<void(int64_t group, const std::byte* data, int64_t n_rows)> body) {
  constexpr int64_t kReadBytes = 128 << 10;
  const int64_t group_bytes = static_cast<int64_t>(weight.bytes_per_row()) * kernels::kGroupRows;
  const int64_t at_a_time = std::max<int64_t>(kReadBytes / group_bytes, 1);
  const auto first_row = [&](int64_t group) { return std::min(group * kernels::kGroupRows, weight.rows); };
  WeightReader reader(weight);
  for (int64_t some = begin; some < end; some += at_a_time) {
    const int64_t last = std::min(some + at_a_time, end);
    const std::byte* data = reader.rows(first_row(some), first_row(last));
    for (int64_t group = some; group < last; ++group)
      body(group, data + (group - some) * group_bytes, first_row(group + 1) - first_row(group));
  }
}

}  // namespace t5g
