// Whether element_row and element_col tell the truth on this device: what every backend asks before it trusts
// fragments.
#pragma once

#include "kernels/gpu/args.h"
#include "kernels/gpu/prelude.h"

namespace t5g {
namespace gpu {

struct ProbeShared {
  alignas(16) u16 a[16 * 16];
  alignas(16) u16 b[8 * 16];
};

// C = A B with A[r][k] = r when k = 0, 1 when k = 1, and B[0][c] = 16, B[1][c] = c, so that C[r][c] = 16 r + c.
GPU_FN void probe_fragment(CONSTANT ProbeArgs& args, SHARED ProbeShared& shared, Thread t) {
  for (u32 i = t.index; i < 256; i += kWarpLanes)
    shared.a[i] = static_cast<u16>(float_to_bf16(i % 16 == 0 ? static_cast<f32>(i / 16) : i % 16 == 1 ? 1.f : 0.f));
  for (u32 i = t.index; i < 128; i += kWarpLanes)
    shared.b[i] = static_cast<u16>(float_to_bf16(i % 16 == 0 ? 16.f : i % 16 == 1 ? static_cast<f32>(i / 16) : 0.f));
  group_barrier();
  FragA a;
  FragB b;
  FragC c;
  clear(c);
  load_a(a, shared.a, 16, t);
  load_b(b, shared.b, 16, t);
  multiply_add(c, a, b);
  UNROLL for (u32 e = 0; e < 4; ++e) {
    const u32 row = element_row(t.lane, e), col = element_col(t.lane, e);
    args.out[t.lane * 4 + e] = get(c, e) == static_cast<f32>(16 * row + col) ? row * 256 + col : 0xFFFFFFFFu;
  }
}

}  // namespace gpu
}  // namespace t5g
