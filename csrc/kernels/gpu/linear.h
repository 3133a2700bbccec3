// Linear layers in plain f32 arithmetic, for every type: out = x W^T, each output one sum in order of k, whatever the
// number of rows. Tiles of 32 x 32 outputs; both inputs' tiles are put into the group's memory as floats.
#pragma once

#include "kernels/gpu/formats.h"

namespace t5g {
namespace gpu {

CONSTEXPR u32 kLinearK = 64;
CONSTEXPR u32 kLinearStride = kLinearK + 1;  // another bank from row to row

struct LinearShared {
  f32 x[kLinearRows * kLinearStride];
  f32 w[kLinearCols * kLinearStride];
};

// Which projection a column of tiles belongs to.
GPU_FN u32 find_projection(CONSTANT LinearArgs& args, u32 tile) {
  u32 p = 0;
  while (p + 1 < args.n_projections && tile >= args.projections[p + 1].first_tile) ++p;
  return p;
}

// Adds what the projection adds, and stores.
GPU_FN void finish(CONSTANT Projection& p, u32 row, u32 col, f32 sum) {
  const u64 at = static_cast<u64>(row) * p.weight.n + col;
  if ((p.flags & kHasBias) != 0) sum += p.bias[col];
  if ((p.flags & kAddsOut) != 0) sum += p.out[at];
  p.out[at] = sum;
}

template <typename Format>
GPU_FN void linear(CONSTANT LinearArgs& args, SHARED LinearShared& shared, Thread t) {
  CONSTANT Projection& p = args.projections[find_projection(args, t.group_x)];
  const u32 first_row = t.group_y * kLinearRows, first_col = (t.group_x - p.first_tile) * kLinearCols;
  const Weight weight = own_weight(p.weight);
  // What this thread brings: 16 values of one row of each.
  const u32 own = t.index / 4, own_k = t.index % 4 * kChunk;
  const u32 x_row = first_row + own;
  const u64 w_row = min_u32(first_col + own, p.weight.n - 1) * row_values(p.weight.k);
  // What it computes: two rows, four columns.
  const u32 row = t.index / 8, col = t.index % 8;
  f32 sums[2][4];
  UNROLL for (u32 i = 0; i < 2; ++i) { UNROLL for (u32 j = 0; j < 4; ++j) sums[i][j] = 0; }
  const u32 padded = static_cast<u32>(row_values(args.k));
  for (u32 k = 0; k < padded; k += kLinearK) {
    if (k + own_k < padded) {
      f32 values[kChunk];
      Format::load(weight, w_row + k + own_k, values);
      UNROLL for (u32 i = 0; i < kChunk; ++i) shared.w[own * kLinearStride + own_k + i] = values[i];
      GLOBAL const f32* x = args.x + static_cast<u64>(x_row) * args.k;
      for (u32 i = 0; i < kChunk; ++i) {
        const u32 at = k + own_k + i;
        shared.x[own * kLinearStride + own_k + i] = x_row < args.m && at < args.k ? x[at] : 0.f;
      }
    }
    group_barrier();
    if (first_row + row < args.m) {
      const u32 n = min_u32(kLinearK, padded - k);
      for (u32 i = 0; i < n; ++i) {
        const f32 x0 = shared.x[row * kLinearStride + i], x1 = shared.x[(row + 16) * kLinearStride + i];
        UNROLL for (u32 j = 0; j < 4; ++j) {
          const f32 w = shared.w[(col + 8 * j) * kLinearStride + i];
          sums[0][j] = mul_add(x0, w, sums[0][j]);
          sums[1][j] = mul_add(x1, w, sums[1][j]);
        }
      }
    }
    group_barrier();
  }
  UNROLL for (u32 i = 0; i < 2; ++i) {
    UNROLL for (u32 j = 0; j < 4; ++j) {
      const u32 to_row = first_row + row + 16 * i, to_col = first_col + col + 8 * j;
      if (to_row < args.m && to_col < p.weight.n) finish(p, to_row, to_col, sums[i][j]);
    }
  }
}

}  // namespace gpu
}  // namespace t5g
