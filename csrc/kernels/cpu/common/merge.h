// The merging of parts: two partial softmaxes to one.
#pragma once

#include "kernels/cpu/common/math.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/kv_layout.h"

namespace t5g::kernels {
namespace {

// acc [n] = acc * state_weight + part * part_weight.
void merge_row(float* acc, const float* part, int n, F32x16 state_weight, F32x16 part_weight) {
  for (int i = 0; i < n; i += 16) store(acc + i, fma(load(acc + i), state_weight, load(part + i) * part_weight));
}

// 16 rows at a time, so that their exponentials are one.
void merge(const MergeArgs& args) {
  for (int row = 0; row < args.rows; row += 16) {
    const int n = lanes_left(args.rows, row);
    const F32x16 max_state = load_first(args.max + row, n), max_part = load_first(args.part_max + row, n);
    const F32x16 max_both = max(max_part, max_state);
    // An empty state has weight e^(-infinity) = 0; where both are empty, nothing is done with the weights.
    alignas(64) float state_weight[16], part_weight[16];
    store(state_weight, exp_of_nonpositive(max_state - max_both));
    store(part_weight, exp_of_nonpositive(max_part - max_both));
    const Mask16 any = less(splat(-kInfinity), max_part);
    const F32x16 sum_state = load_first(args.sum + row, n);
    const F32x16 sum = fma(sum_state, load(state_weight), load_first(args.part_sum + row, n) * load(part_weight));
    store_first(args.sum + row, select(any, sum, sum_state), n);
    store_first(args.max + row, max_both, n);
    for (int r = 0; r < n; ++r) {
      if (args.part_max[row + r] == -kInfinity) continue;
      const int at = (row + r) * acc_stride(args.head_dim);
      merge_row(args.acc + at, args.part_acc + at, acc_stride(args.head_dim), splat(state_weight[r]),
                splat(part_weight[r]));
    }
  }
}

}  // namespace
}  // namespace t5g::kernels
