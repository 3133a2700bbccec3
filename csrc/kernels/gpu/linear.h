// What all linear layers share: where their outputs go.
#pragma once

#include "kernels/gpu/formats.h"

namespace t5g {
namespace gpu {

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

}  // namespace gpu
}  // namespace t5g
