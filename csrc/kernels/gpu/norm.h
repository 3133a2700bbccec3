// Norms: a warp for each row, so that nobody waits for a group.
#pragma once

#include "kernels/gpu/args.h"
#include "kernels/gpu/prelude.h"

namespace t5g {
namespace gpu {

// A row's sums have one order, whether a warp or a group of four makes them: 128 sums of every 128th value, those of 32
// neighbours summed by lanes_sum, and those four from the first to the last.
CONSTEXPR u32 kSumWarps = 4;
CONSTEXPR u32 kSumThreads = kSumWarps * kWarpLanes;

// A warp's sum of four, in all lanes.
GPU_FN f32 sum_of_four(PRIVATE const f32 (&sums)[kSumWarps]) {
  f32 all = lanes_sum<kWarpLanes>(sums[0]);
  UNROLL for (u32 w = 1; w < kSumWarps; ++w) all += lanes_sum<kWarpLanes>(sums[w]);
  return all;
}

GPU_FN f32 inverse_root(f32 squares, u32 cols, f32 eps) { return 1 / sqrt_(squares / static_cast<f32>(cols) + eps); }

// 1 / rms of a row, in all lanes of a warp.
GPU_FN f32 inverse_rms(GLOBAL const f32* x, u32 cols, f32 eps, u32 lane) {
  f32 sums[kSumWarps] = {0, 0, 0, 0};
  NO_UNROLL for (u32 first = 0; first < cols; first += kSumThreads) {
    UNROLL for (u32 w = 0; w < kSumWarps; ++w) {
      const u32 i = first + w * kWarpLanes + lane;
      if (i < cols) sums[w] = mul_add(x[i], x[i], sums[w]);
    }
  }
  return inverse_root(sum_of_four(sums), cols, eps);
}

GPU_FN void rms_norm(CONSTANT NormArgs& args, SHARED Nothing&, Thread t) {
  const u32 row = t.group_x * kNormRows + t.warp;
  if (row >= args.rows) return;
  const u64 at = static_cast<u64>(row) * args.cols;
  const f32 inverse = inverse_rms(args.x + at, args.cols, args.eps, t.lane);
  for (u32 i = t.lane; i < args.cols; i += kWarpLanes) args.out[at + i] = args.x[at + i] * inverse * args.weight[i];
}

GPU_FN void add_rms_norm(CONSTANT NormArgs& args, SHARED Nothing&, Thread t) {
  const u32 row = t.group_x * kNormRows + t.warp;
  if (row >= args.rows) return;
  const u64 at = static_cast<u64>(row) * args.cols;
  const f32 inverse = inverse_rms(args.x + at, args.cols, args.eps, t.lane);
  for (u32 i = t.lane; i < args.cols; i += kWarpLanes) args.out[at + i] += args.x[at + i] * inverse * args.weight[i];
}

GPU_FN void layer_norm(CONSTANT NormArgs& args, SHARED Nothing&, Thread t) {
  const u32 row = t.group_x * kNormRows + t.warp;
  if (row >= args.rows) return;
  const u64 at = static_cast<u64>(row) * args.cols;
  const f32 n = static_cast<f32>(args.cols);
  f32 sum = 0;
  for (u32 i = t.lane; i < args.cols; i += kWarpLanes) sum += args.x[at + i];
  const f32 mean = lanes_sum<kWarpLanes>(sum) / n;
  f32 squares = 0;
  for (u32 i = t.lane; i < args.cols; i += kWarpLanes) {
    const f32 off = args.x[at + i] - mean;
    squares = mul_add(off, off, squares);
  }
  const f32 inverse = inverse_root(lanes_sum<kWarpLanes>(squares), args.cols, args.eps);
  for (u32 i = t.lane; i < args.cols; i += kWarpLanes)
    args.out[at + i] = mul_add((args.x[at + i] - mean) * inverse, args.weight[i], args.bias[i]);
}

}  // namespace gpu
}  // namespace t5g
