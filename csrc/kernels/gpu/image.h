// The two kernels that know that rows are places in an image.
#pragma once

#include "kernels/gpu/args.h"
#include "kernels/gpu/prelude.h"

namespace t5g {
namespace gpu {

GPU_FN void patches(CONSTANT PatchArgs& args, SHARED Nothing&, Thread t) {
  const u32 size = args.patch_size, area = size * size, side = args.image_size / size;
  const u32 patch = args.first + t.group_x;
  GLOBAL f32* out = args.out + static_cast<u64>(t.group_x) * 3 * area;
  for (u32 i = t.index; i < 3 * area; i += kRowThreads) {
    const u32 channel = i / area, y = patch / side * size + i % area / size, x = patch % side * size + i % size;
    const f32 value = static_cast<f32>(args.pixels[(y * args.image_size + x) * 3 + channel]) / 255.f;
    out[i] = (value - args.mean[channel]) / args.std[channel];
  }
}

GPU_FN void mean_pool(CONSTANT PoolArgs& args, SHARED Nothing&, Thread t) {
  const u32 out_side = args.side / args.window, area = args.window * args.window;
  const u32 corner = t.group_x / out_side * args.window * args.side + t.group_x % out_side * args.window;
  const f32 share = 1.f / static_cast<f32>(area);
  for (u32 col = t.index; col < args.cols; col += kRowThreads) {
    f32 sum = 0;
    for (u32 i = 0; i < area; ++i) {
      const u64 row = corner + i / args.window * args.side + i % args.window;
      sum += args.x[row * args.cols + col];
    }
    args.out[static_cast<u64>(t.group_x) * args.cols + col] = sum * share;
  }
}

}  // namespace gpu
}  // namespace t5g
