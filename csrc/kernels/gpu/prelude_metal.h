// The vocabulary of prelude.h in the Metal shading language, 3.1 (macOS 14) and later: bfloat, and pointers in argument
// structs. Compiled at run time, as one text.
#pragma once

#include <metal_simdgroup_matrix>

// Products and sums stay apart, in Metal's word for it and in clang's: the same bits wherever they are written.
#pragma METAL fp contract(off)
#pragma STDC FP_CONTRACT OFF

#define GPU_FN inline
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")
#define PRAGMA_OF(text) _Pragma(#text)
#define UNROLL_BY(n) PRAGMA_OF(unroll n)

#ifndef GROUP_MEMORY
#define GROUP_MEMORY(Shared) threadgroup Shared shared
#endif
#define GPU_KERNEL(name, Args, Shared, threads, ...)                                                    \
  [[max_total_threads_per_threadgroup(threads)]]                                                        \
  kernel void name(constant Args& args [[buffer(0)]], uint3 group [[threadgroup_position_in_grid]],     \
                   uint index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]], \
                   uint warp [[simdgroup_index_in_threadgroup]]) {                                      \
    GROUP_MEMORY(Shared);                                                                               \
    __VA_ARGS__(args, shared, t5g::gpu::Thread{lane, warp, index, group.x, group.y, group.z});          \
  }

namespace t5g {
namespace gpu {

struct Thread {
  u32 lane, warp, index;
  u32 group_x, group_y, group_z;
};

GPU_FN void group_barrier() { metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup); }
// Also for what the group's threads wrote to device memory.
GPU_FN void group_barrier_device() {
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup | metal::mem_flags::mem_device);
}
GPU_FN void warp_barrier() { metal::simdgroup_barrier(metal::mem_flags::mem_threadgroup); }
template <typename T>
GPU_FN T warp_shuffle_xor(T x, u32 mask) {
  return metal::simd_shuffle_xor(x, static_cast<u16>(mask));
}
template <typename T>
GPU_FN T warp_shuffle(T x, u32 lane) {
  return metal::simd_shuffle(x, static_cast<u16>(lane));
}

// Apple's GPUs have no instruction for it, and are faster with floats: sums of 16 products are whole numbers that f32
// holds exactly.
GPU_FN i32 dot4(u32 a, u32 b, i32 sum) {
  return sum + static_cast<i32>(metal::dot(float4(as_type<char4>(a)), float4(as_type<char4>(b))));
}
GPU_FN f32 mul_add(f32 a, f32 b, f32 c) { return metal::fma(a, b, c); }
GPU_FN f32 exp2_(f32 x) { return metal::exp2(x); }
GPU_FN f32 log2_(f32 x) { return metal::log2(x); }
GPU_FN f32 tanh_(f32 x) { return metal::tanh(x); }
GPU_FN f32 sqrt_(f32 x) { return metal::sqrt(x); }
GPU_FN f32 max_(f32 a, f32 b) { return metal::fmax(a, b); }
GPU_FN u32 bits_of(f32 x) { return as_type<uint>(x); }
GPU_FN f32 float_of(u32 bits) { return as_type<float>(bits); }
template <typename T>
GPU_FN T load_once(device const T* p) {
  return *p;
}
GPU_FN f32 half_to_float(u16 bits) { return static_cast<f32>(as_type<half>(bits)); }
// To the nearest, ties to even. small_to_half: for |x| <= 65504; float_to_half: beyond 65504 that. Not for NaN.
GPU_FN u32 small_to_half(f32 x) { return as_type<u16>(static_cast<half>(x)); }
GPU_FN u32 float_to_half(f32 x) { return small_to_half(metal::fmin(metal::fmax(x, -65504.f), 65504.f)); }

// ---- Fragments: simdgroup matrices of 8 x 8
// --------------------------------------------------------------------------

template <typename T>
struct MatrixA {
  metal::simdgroup_matrix<T, 8, 8> m[4];  // quarters: top left, bottom left, top right, bottom right
};
template <typename T>
struct MatrixB {
  metal::simdgroup_matrix<T, 8, 8> m[2];
};
typedef MatrixA<bfloat> FragA;
typedef MatrixB<bfloat> FragB;
typedef MatrixA<half> HalfA;
typedef MatrixB<half> HalfB;
struct FragC {
  metal::simdgroup_float8x8 m[2];
};

// Not documented by Apple, the same on all its GPUs so far: the backend runs probe_fragment at start and does without
// Metal where it disagrees.
GPU_FN u32 element_row(u32 lane, u32 i) { return lane / 16 * 4 + lane / 2 % 4 + i / 2 * 8; }
GPU_FN u32 element_col(u32 lane, u32 i) { return lane / 8 % 2 * 4 + lane % 2 * 2 + i % 2; }
GPU_FN f32 get(thread const FragC& c, u32 i) { return c.m[i / 2].thread_elements()[i % 2]; }
GPU_FN void set(thread FragC& c, u32 i, f32 x) { c.m[i / 2].thread_elements()[i % 2] = x; }
GPU_FN void clear(thread FragC& c) {
  c.m[0] = metal::make_filled_simdgroup_matrix<float, 8, 8>(0.f);
  c.m[1] = metal::make_filled_simdgroup_matrix<float, 8, 8>(0.f);
}

template <typename T>
GPU_FN void load_a(thread MatrixA<T>& a, threadgroup const u16* tile, u32 stride, Thread) {
  threadgroup const T* p = reinterpret_cast<threadgroup const T*>(tile);
  metal::simdgroup_load(a.m[0], p, stride);
  metal::simdgroup_load(a.m[1], p + 8 * stride, stride);
  metal::simdgroup_load(a.m[2], p + 8, stride);
  metal::simdgroup_load(a.m[3], p + 8 * stride + 8, stride);
}
template <typename T>
GPU_FN void load_b(thread MatrixB<T>& b, threadgroup const u16* tile, u32 stride, Thread) {
  threadgroup const T* p = reinterpret_cast<threadgroup const T*>(tile);
  metal::simdgroup_load(b.m[0], p, stride, ulong2(0, 0), true);
  metal::simdgroup_load(b.m[1], p + 8, stride, ulong2(0, 0), true);
}
template <typename T>
GPU_FN void load_b_global(thread MatrixB<T>& b, device const u16* tile, u32 stride, Thread) {
  device const T* p = reinterpret_cast<device const T*>(tile);
  metal::simdgroup_load(b.m[0], p, stride, ulong2(0, 0), true);
  metal::simdgroup_load(b.m[1], p + 8, stride, ulong2(0, 0), true);
}
template <typename T>
GPU_FN void multiply_add(thread FragC& c, thread const MatrixA<T>& a, thread const MatrixB<T>& b) {
  UNROLL for (u32 i = 0; i < 2; ++i) {
    metal::simdgroup_multiply_accumulate(c.m[i], a.m[i], b.m[0], c.m[i]);
    metal::simdgroup_multiply_accumulate(c.m[i], a.m[2 + i], b.m[1], c.m[i]);
  }
}

}  // namespace gpu
}  // namespace t5g

#include "kernels/gpu/prelude_lanes.h"
