// Norms: a warp for each row, so that nobody waits for a group.
#pragma once

#include "kernels/gpu/args.h"
#include "kernels/gpu/prelude.h"

namespace t5g {
namespace gpu {

// 1 / rms of a row, in all lanes: each lane sums every 32nd square, then the lanes are summed.
GPU_FN f32 inverse_rms(GLOBAL const f32* x, u32 cols, f32 eps, u32 lane) {
  f32 sum = 0;
  for (u32 i = lane; i < cols; i += kWarpLanes) sum = mul_add(x[i], x[i], sum);
  return 1 / sqrt_(lanes_sum<kWarpLanes>(sum) / static_cast<f32>(cols) + eps);
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
  const f32 inverse = 1 / sqrt_(lanes_sum<kWarpLanes>(squares) / n + args.eps);
  for (u32 i = t.lane; i < args.cols; i += kWarpLanes)
    args.out[at + i] = mul_add((args.x[at + i] - mean) * inverse, args.weight[i], args.bias[i]);
}

}  // namespace gpu
}  // namespace t5g
