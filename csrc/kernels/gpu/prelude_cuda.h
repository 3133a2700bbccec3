// The vocabulary of prelude.h in CUDA C++ (sm_75 and later), compiled with -fmad=false. Without cuda_fp16.h and the
// like: they take longer to compile than the kernels.
#pragma once

#define GPU_FN __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")
#define PRAGMA_OF(text) _Pragma(#text)
#define UNROLL_BY(n) PRAGMA_OF(unroll n)

// extern "C": the driver finds kernels by name. At least one group a processor: else registers are spilled to have
// more.
#define GPU_KERNEL(name, Args, Shared, threads, ...)                                                 \
  extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Args args) { \
    __shared__ Shared shared;                                                                        \
    __VA_ARGS__(args, shared, t5g::gpu::this_thread());                                              \
  }

namespace t5g {
namespace gpu {

struct Thread {
  u32 lane, warp, index;
  u32 group_x, group_y, group_z;
};

GPU_FN Thread this_thread() {
  return {threadIdx.x % 32, threadIdx.x / 32, threadIdx.x, blockIdx.x, blockIdx.y, blockIdx.z};
}

GPU_FN void group_barrier() { __syncthreads(); }
// Also for what the group's threads wrote to device memory.
GPU_FN void group_barrier_device() { __syncthreads(); }
GPU_FN void warp_barrier() { __syncwarp(); }
template <typename T>
GPU_FN T warp_shuffle_xor(T x, u32 mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, x, mask);
}
template <typename T>
GPU_FN T warp_shuffle(T x, u32 lane) {
  return __shfl_sync(0xFFFFFFFFu, x, lane);
}

GPU_FN i32 dot4(u32 a, u32 b, i32 sum) { return __dp4a(static_cast<i32>(a), static_cast<i32>(b), sum); }
GPU_FN f32 mul_add(f32 a, f32 b, f32 c) { return __fmaf_rn(a, b, c); }
// The instruction alone, denormal results included: its error is 2 units in the last place.
GPU_FN f32 exp2_(f32 x) {
  f32 out;
  asm("ex2.approx.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}
GPU_FN f32 log2_(f32 x) { return log2f(x); }
GPU_FN f32 tanh_(f32 x) { return tanhf(x); }
GPU_FN f32 sqrt_(f32 x) { return __fsqrt_rn(x); }
GPU_FN f32 max_(f32 a, f32 b) { return fmaxf(a, b); }
GPU_FN u32 bits_of(f32 x) { return __float_as_uint(x); }
GPU_FN f32 float_of(u32 bits) { return __uint_as_float(bits); }
// Weights are read once: they need not push anything out of the L1 cache.
template <typename T>
GPU_FN T load_once(const T* p) {
  T out;
  if (sizeof(T) == 16) {
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(out.word[0]), "=r"(out.word[1]), "=r"(out.word[2 % (sizeof(T) / 4)]), "=r"(out.word[3 % (sizeof(T) / 4)])
        : "l"(p));
  } else {
    asm("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(out.word[0]), "=r"(out.word[1]) : "l"(p));
  }
  return out;
}
GPU_FN f32 half_to_float(u16 bits) {
  f32 out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(bits));
  return out;
}
// To the nearest, ties to even. small_to_half: for |x| <= 65504; float_to_half: beyond 65504 that. Not for NaN.
GPU_FN u32 small_to_half(f32 x) {
  u16 out;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out) : "f"(x));
  return out;
}
GPU_FN u32 float_to_half(f32 x) { return small_to_half(fminf(fmaxf(x, -65504.f), 65504.f)); }

// ---- Fragments: mma.sync m16n8k16
// ------------------------------------------------------------------------------------

// As bits: what they are, only the multiplication asks.
struct AnyA {
  u32 r[4];
};
struct AnyB {
  u32 r[2];
};
struct FragA {
  AnyA bits;
};
struct FragB {
  AnyB bits;
};
struct HalfA {
  AnyA bits;
};
struct HalfB {
  AnyB bits;
};
struct FragC {
  f32 v[4];
};

GPU_FN u32 element_row(u32 lane, u32 i) { return lane / 4 + i / 2 * 8; }
GPU_FN u32 element_col(u32 lane, u32 i) { return lane % 4 * 2 + i % 2; }
GPU_FN f32 get(const FragC& c, u32 i) { return c.v[i]; }
GPU_FN void set(FragC& c, u32 i, f32 x) { c.v[i] = x; }
GPU_FN void clear(FragC& c) { c.v[0] = c.v[1] = c.v[2] = c.v[3] = 0; }

// Rows of 16 bytes come from the addresses of the lanes: 8 rows for each 8 x 8 quarter.
template <typename A>
GPU_FN void load_a(A& a, const u16* tile, u32 stride, Thread t) {
  const u16* row = tile + t.lane % 16 * stride + t.lane / 16 * 8;
  const u32 address = static_cast<u32>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a.bits.r[0]), "=r"(a.bits.r[1]), "=r"(a.bits.r[2]), "=r"(a.bits.r[3])
               : "r"(address)
               : "memory");
}
template <typename B>
GPU_FN void load_b(B& b, const u16* tile, u32 stride, Thread t) {
  const u16* row = tile + t.lane % 8 * stride + t.lane / 8 % 2 * 8;
  const u32 address = static_cast<u32>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(b.bits.r[0]), "=r"(b.bits.r[1])
               : "r"(address)
               : "memory");
}
template <typename B>
GPU_FN void load_b_global(B& b, const u16* tile, u32 stride, Thread t) {
  const u16* row = tile + t.lane / 4 * stride + t.lane % 4 * 2;
  b.bits.r[0] = *reinterpret_cast<const u32*>(row);
  b.bits.r[1] = *reinterpret_cast<const u32*>(row + 8);
}

#if __CUDA_ARCH__ >= 800
#define T5G_MMA(type)                                                                                      \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                                      \
               ".f32 "                                                                                     \
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                           \
               : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])                                    \
               : "r"(a.bits.r[0]), "r"(a.bits.r[1]), "r"(a.bits.r[2]), "r"(a.bits.r[3]), "r"(b.bits.r[0]), \
                 "r"(b.bits.r[1]))
GPU_FN void multiply_add(FragC& c, const FragA& a, const FragB& b) { T5G_MMA("bf16"); }
GPU_FN void multiply_add(FragC& c, const HalfA& a, const HalfB& b) { T5G_MMA("f16"); }
#undef T5G_MMA
#else
// Turing multiplies half floats only, eight values of k at a time. What activations lose of their size weights gain, so
// that activations up to 524,000 and the last of three terms of a weight both find room: beyond, they become the
// largest, or are rounded to 2^-24.
CONSTEXPR f32 kHalfScale = 8;
GPU_FN u32 pair_to_half(u32 pair, f32 scale) {
  return float_to_half(float_of(pair << 16) * scale) | float_to_half(float_of(pair & 0xFFFF0000u) * scale) << 16;
}
GPU_FN void multiply_add_8(FragC& c, u32 a0, u32 a1, u32 b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
      : "r"(a0), "r"(a1), "r"(b));
}
GPU_FN void multiply_add(FragC& c, const FragA& a, const FragB& b) {
  UNROLL for (int i = 0; i < 2; ++i) {
    multiply_add_8(c, pair_to_half(a.bits.r[2 * i], 1 / kHalfScale), pair_to_half(a.bits.r[2 * i + 1], 1 / kHalfScale),
                   pair_to_half(b.bits.r[i], kHalfScale));
  }
}
GPU_FN void multiply_add(FragC& c, const HalfA& a, const HalfB& b) {
  UNROLL for (int i = 0; i < 2; ++i) multiply_add_8(c, a.bits.r[2 * i], a.bits.r[2 * i + 1], b.bits.r[i]);
}
#endif

}  // namespace gpu
}  // namespace t5g

#include "kernels/gpu/prelude_lanes.h"
