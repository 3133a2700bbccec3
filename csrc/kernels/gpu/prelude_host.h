// The vocabulary of prelude.h on the CPU, where every thread of a group is a fiber: see emulator/group.h. Fragments are
// laid out as on CUDA, or where the emulator is told so, as on Metal.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/gpu/emulator/group.h"

#define GPU_FN inline
#define UNROLL
#define NO_UNROLL
#define UNROLL_BY(n)

namespace t5g {
namespace gpu {

using emulator::Thread;

// Where a barrier is called: a default argument, so that it is the kernel's line.
#define T5G_LINE int line = __builtin_LINE()

GPU_FN void group_barrier(T5G_LINE) { emulator::group_barrier(line); }
GPU_FN void group_barrier_device(T5G_LINE) { emulator::group_barrier(line); }
GPU_FN void warp_barrier(T5G_LINE) { emulator::warp_collective(nullptr, nullptr, line); }

template <typename T>
struct Shuffle {
  T value;
  u32 from;
  T result;
};
template <typename T>
GPU_FN T warp_shuffle(T x, u32 lane, T5G_LINE) {
  Shuffle<T> mine{x, lane % 32, {}};
  emulator::warp_collective(
      &mine,
      [](void* const* lanes) {
        for (int i = 0; i < 32; ++i) {
          auto* to = static_cast<Shuffle<T>*>(lanes[i]);
          to->result = static_cast<Shuffle<T>*>(lanes[to->from])->value;
        }
      },
      line);
  return mine.result;
}
// A lane and the one that differs from it in mask change places.
template <typename T, u32 kMost>
struct Exchange {
  T* values;
  u32 n, mask;
};
template <typename T, u32 kMost>
void exchange(void* const* lanes) {
  T given[32][kMost];
  for (u32 i = 0; i < 32; ++i) {
    const auto* from = static_cast<Exchange<T, kMost>*>(lanes[i]);
    for (u32 k = 0; k < from->n; ++k) given[i][k] = from->values[k];
  }
  for (u32 i = 0; i < 32; ++i) {
    auto* to = static_cast<Exchange<T, kMost>*>(lanes[i]);
    for (u32 k = 0; k < to->n; ++k) to->values[k] = given[i ^ to->mask][k];
  }
}
template <typename T>
GPU_FN T warp_shuffle_xor(T x, u32 mask, T5G_LINE) {
  Exchange<T, 1> mine{&x, 1, mask};
  emulator::warp_collective(&mine, exchange<T, 1>, line);
  return x;
}
// All at one change of stacks.
template <u32 kMost>
GPU_FN void warp_exchange(f32 (&x)[kMost], u32 n, u32 mask, T5G_LINE) {
  Exchange<f32, kMost> mine{x, n, mask};
  emulator::warp_collective(&mine, exchange<f32, kMost>, line);
}

// One change of stacks for all steps of a sum over lanes: the same bits as five shuffles.
struct Reduced {
  f32 value;
  u32 n;
};
inline void sum_warp(void* const* lanes) {
  for (u32 mask = 1; mask < static_cast<Reduced*>(lanes[0])->n; mask *= 2) {
    f32 sums[32];
    for (u32 i = 0; i < 32; ++i)
      sums[i] = static_cast<Reduced*>(lanes[i])->value + static_cast<Reduced*>(lanes[i ^ mask])->value;
    for (u32 i = 0; i < 32; ++i) static_cast<Reduced*>(lanes[i])->value = sums[i];
  }
}
inline void max_warp(void* const* lanes) {
  for (u32 mask = 1; mask < static_cast<Reduced*>(lanes[0])->n; mask *= 2) {
    f32 largest[32];
    for (u32 i = 0; i < 32; ++i)
      largest[i] = std::fmax(static_cast<Reduced*>(lanes[i])->value, static_cast<Reduced*>(lanes[i ^ mask])->value);
    for (u32 i = 0; i < 32; ++i) static_cast<Reduced*>(lanes[i])->value = largest[i];
  }
}
// The sum (largest) of kLanes neighbouring lanes, in all of them.
template <u32 kLanes>
GPU_FN f32 lanes_sum(f32 x, T5G_LINE) {
  Reduced mine{x, kLanes};
  emulator::warp_collective(&mine, sum_warp, line);
  return mine.value;
}
template <u32 kLanes>
GPU_FN f32 lanes_max(f32 x, T5G_LINE) {
  Reduced mine{x, kLanes};
  emulator::warp_collective(&mine, max_warp, line);
  return mine.value;
}

template <u32 kLanes, typename Combine, typename T>
void combine_lanes(void* const* lanes) {
  for (u32 mask = 1; mask < kLanes; mask *= 2) {
    T combined[32];
    for (u32 i = 0; i < 32; ++i)
      combined[i] = Combine::of(*static_cast<const T*>(lanes[i]), *static_cast<const T*>(lanes[i ^ mask]));
    for (u32 i = 0; i < 32; ++i) *static_cast<T*>(lanes[i]) = combined[i];
  }
}
template <u32 kLanes, typename Combine, typename T>
GPU_FN T lanes_combined(T x, T5G_LINE) {
  emulator::warp_collective(&x, combine_lanes<kLanes, Combine, T>, line);
  return x;
}

GPU_FN i32 dot4(u32 a, u32 b, i32 sum) {
  for (int i = 0; i < 32; i += 8) sum += static_cast<i8>(a >> i) * static_cast<i8>(b >> i);
  return sum;
}
GPU_FN f32 mul_add(f32 a, f32 b, f32 c) { return std::fma(a, b, c); }
GPU_FN f32 exp2_(f32 x) { return std::exp2(x); }
GPU_FN f32 log2_(f32 x) { return std::log2(x); }
GPU_FN f32 tanh_(f32 x) { return std::tanh(x); }
GPU_FN f32 sqrt_(f32 x) { return std::sqrt(x); }
GPU_FN f32 max_(f32 a, f32 b) { return std::fmax(a, b); }
GPU_FN u32 bits_of(f32 x) {
  u32 bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
GPU_FN f32 float_of(u32 bits) {
  f32 x;
  std::memcpy(&x, &bits, 4);
  return x;
}
template <typename T>
GPU_FN T load_once(const T* p) {
  return *p;
}
GPU_FN f32 half_to_float(u16 bits) {
  const u32 sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, mantissa = bits & 1023u;
  if (exponent == 0) return float_of(sign | bits_of(static_cast<f32>(mantissa) * 0x1p-24f));
  return float_of(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13);
}
// To the nearest, ties to even; beyond 65504 that. Not for NaN.
GPU_FN u32 float_to_half(f32 x) {
  const u32 bits = bits_of(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
  // Below the smallest normal half: adding 2^-1 aligns the last kept bit with the float's last bit, which rounds.
  if (magnitude < 0x38800000u) return sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3F000000u);
  const u32 half = (magnitude - (112u << 23) + 0xFFFu + (magnitude >> 13 & 1u)) >> 13;
  return sign | (half < 0x7BFFu ? half : 0x7BFFu);
}

GPU_FN u32 small_to_half(f32 x) { return float_to_half(x); }

// ---- Fragments ------------------------------------------------------------------------------------------------------

inline f32 float_of_bf16(u16 bits) { return float_of(static_cast<u32>(bits) << 16); }

// Element i is at row a_row(lane, i), column a_col(lane, i).
template <f32 (*kValue)(u16)>
struct MatrixA {
  u16 e[8];
};
template <f32 (*kValue)(u16)>
struct MatrixB {
  u16 e[4];
};
using FragA = MatrixA<float_of_bf16>;
using FragB = MatrixB<float_of_bf16>;
using HalfA = MatrixA<half_to_float>;
using HalfB = MatrixB<half_to_float>;
struct FragC {
  f32 v[4];
};

// Two neighbours of each 8 x 8 matrix.
GPU_FN u32 sub_row(u32 lane, bool metal) { return metal ? lane / 16 * 4 + lane / 2 % 4 : lane / 4; }
GPU_FN u32 sub_col(u32 lane, bool metal) { return metal ? lane / 8 % 2 * 4 + lane % 2 * 2 : lane % 4 * 2; }
GPU_FN u32 sub_row(u32 lane) { return sub_row(lane, emulator::has_metal_fragments()); }
GPU_FN u32 sub_col(u32 lane) { return sub_col(lane, emulator::has_metal_fragments()); }
GPU_FN u32 element_row(u32 lane, u32 i) { return sub_row(lane) + i / 2 * 8; }
GPU_FN u32 element_col(u32 lane, u32 i) { return sub_col(lane) + i % 2; }
GPU_FN u32 a_row(u32 lane, u32 i) { return sub_row(lane) + i / 2 % 2 * 8; }
GPU_FN u32 a_col(u32 lane, u32 i) { return sub_col(lane) + i % 2 + i / 4 * 8; }
GPU_FN f32 get(const FragC& c, u32 i) { return c.v[i]; }
GPU_FN void set(FragC& c, u32 i, f32 x) { c.v[i] = x; }
GPU_FN void clear(FragC& c) { c = {}; }

// The devices' loads are the business of the whole warp, at rows of 16 bytes, and no barrier.
template <typename A>
GPU_FN void load_a(A& a, const u16* tile, u32 stride, Thread t, T5G_LINE) {
  emulator::warp_load(line);
  emulator::check_aligned(tile + t.lane % 16 * stride + t.lane / 16 * 8, 16, line);
  for (u32 i = 0; i < 8; ++i) a.e[i] = tile[a_row(t.lane, i) * stride + a_col(t.lane, i)];
}
template <typename B>
GPU_FN void load_b_lane(B& b, const u16* tile, u32 stride, u32 lane) {
  for (u32 i = 0; i < 4; ++i) b.e[i] = tile[sub_row(lane) * stride + sub_col(lane) + i % 2 + i / 2 * 8];
}
template <typename B>
GPU_FN void load_b(B& b, const u16* tile, u32 stride, Thread t, T5G_LINE) {
  emulator::warp_load(line);
  emulator::check_aligned(tile + t.lane % 8 * stride, 16, line);
  load_b_lane(b, tile, stride, t.lane);
}
template <typename B>
GPU_FN void load_b_global(B& b, const u16* tile, u32 stride, Thread t, T5G_LINE) {
  emulator::check_aligned(tile + t.lane % 8 * stride, 4, line);
  load_b_lane(b, tile, stride, t.lane);
}

template <f32 (*kValue)(u16)>
struct Product {
  FragC* c;
  const MatrixA<kValue>* a;
  const MatrixB<kValue>* b;
};
template <f32 (*kValue)(u16), bool kMetal>
void multiply_laid_out(void* const* lanes) {
  f32 a[16][16], b[16][8];
  for (u32 lane = 0; lane < 32; ++lane) {
    const auto* p = static_cast<const Product<kValue>*>(lanes[lane]);
    const u32 row = sub_row(lane, kMetal), col = sub_col(lane, kMetal);
    for (u32 i = 0; i < 8; ++i) a[row + i / 2 % 2 * 8][col + i % 2 + i / 4 * 8] = kValue(p->a->e[i]);
    for (u32 i = 0; i < 4; ++i) b[col + i % 2 + i / 2 * 8][row] = kValue(p->b->e[i]);
  }
  f32 sums[16][8] = {};
  for (u32 r = 0; r < 16; ++r) {
    for (u32 k = 0; k < 16; ++k) {
      for (u32 c = 0; c < 8; ++c) sums[r][c] += a[r][k] * b[k][c];
    }
  }
  for (u32 lane = 0; lane < 32; ++lane) {
    const auto* p = static_cast<const Product<kValue>*>(lanes[lane]);
    const u32 row = sub_row(lane, kMetal), col = sub_col(lane, kMetal);
    for (u32 i = 0; i < 4; ++i) p->c->v[i] += sums[row + i / 2 * 8][col + i % 2];
  }
}
template <f32 (*kValue)(u16)>
void multiply_warp(void* const* lanes) {
  if (emulator::has_metal_fragments()) return multiply_laid_out<kValue, true>(lanes);
  multiply_laid_out<kValue, false>(lanes);
}
template <f32 (*kValue)(u16)>
GPU_FN void multiply_add(FragC& c, const MatrixA<kValue>& a, const MatrixB<kValue>& b, T5G_LINE) {
  Product<kValue> mine{&c, &a, &b};
  emulator::warp_collective(&mine, multiply_warp<kValue>, line);
}

}  // namespace gpu
}  // namespace t5g
