// What is done value by value: rotary positions and activation functions.
#pragma once

#include "kernels/gpu/args.h"
#include "kernels/gpu/prelude.h"

namespace t5g {
namespace gpu {

// Value d of a head that is rotated: with (i, i + head_dim / 2) for pairs.
GPU_FN f32 rotated(f32 a, f32 b, CosSin at, bool second) {
  return second ? b * at.cos + a * at.sin : a * at.cos - b * at.sin;
}

// The pairs (i, i + head_dim / 2) of every head.
GPU_FN void rope(CONSTANT RopeArgs& args, SHARED Nothing&, Thread t) {
  const u32 pairs = args.head_dim / 2;
  const f32 position = static_cast<f32>(args.positions[t.group_x]);
  GLOBAL f32* row = args.x + static_cast<u64>(t.group_x) * args.heads * args.head_dim;
  for (u32 i = t.index; i < pairs; i += kRowThreads) {
    const CosSin at = cos_sin(position * args.inv_freq[i]);
    for (u32 head = 0; head < args.heads; ++head) {
      GLOBAL f32* x = row + head * args.head_dim + i;
      const f32 a = x[0], b = x[pairs];
      x[0] = rotated(a, b, at, false);
      x[pairs] = rotated(a, b, at, true);
    }
  }
}

GPU_FN void geglu(CONSTANT ElementArgs& args, SHARED Nothing&, Thread t) {
  const u64 first = static_cast<u64>(t.group_x) * kElementsPerGroup;
  for (u32 i = t.index; i < kElementsPerGroup && first + i < args.size; i += kRowThreads)
    args.a[first + i] = gelu_tanh(args.a[first + i]) * args.b[first + i];
}

GPU_FN void bias_gelu(CONSTANT ElementArgs& args, SHARED Nothing&, Thread t) {
  const u64 first = static_cast<u64>(t.group_x) * kElementsPerGroup;
  for (u32 i = t.index; i < kElementsPerGroup && first + i < args.size; i += kRowThreads)
    args.a[first + i] = gelu_tanh(args.a[first + i] + args.b[(first + i) % args.cols]);
}

GPU_FN void softcap(CONSTANT ElementArgs& args, SHARED Nothing&, Thread t) {
  const u64 first = static_cast<u64>(t.group_x) * kElementsPerGroup;
  for (u32 i = t.index; i < kElementsPerGroup && first + i < args.size; i += kRowThreads)
    args.a[first + i] = args.cap * tanh_(args.a[first + i] / args.cap);
}

}  // namespace gpu
}  // namespace t5g
