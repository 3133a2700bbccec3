// The part of the vocabulary that is the same everywhere, made of what the devices' parts give.
#pragma once

namespace t5g {
namespace gpu {

CONSTEXPR u32 kWarpLanes = 32;

// Values that travel together; aligned, as the devices demand.
struct alignas(16) Bytes16 {
  u32 word[4];
};
struct alignas(8) Bytes8 {
  u32 word[2];
};

struct Nothing {
  u32 unused;
};

GPU_FN u32 min_u32(u32 a, u32 b) { return a < b ? a : b; }
GPU_FN u32 max_u32(u32 a, u32 b) { return a > b ? a : b; }
GPU_FN f32 abs_(f32 x) { return x < 0 ? -x : x; }

GPU_FN f32 bf16_to_float(u32 bits) { return float_of(bits << 16); }
// To the nearest, ties to even. Not for NaN.
GPU_FN u32 float_to_bf16(f32 x) {
  const u32 bits = bits_of(x);
  return (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
}
GPU_FN u32 bf16_pair(f32 low, f32 high) { return float_to_bf16(low) | float_to_bf16(high) << 16; }

GPU_FN f32 minus_infinity() { return float_of(0xFF800000u); }

GPU_FN f32 signed_byte(u32 word, u32 i) { return static_cast<f32>(static_cast<i32>(word << (24 - 8 * i)) >> 24); }

// The whole number next to x, for |x| < 2^22.
GPU_FN f32 round_even(f32 x) {
  const f32 shifted = x + 12582912.f;  // 1.5 * 2^23
  return shifted - 12582912.f;
}
// To the nearest, halves away from zero, for |x| < 2^31: how activations become bytes.
GPU_FN i32 round_away(f32 x) { return static_cast<i32>(x + (x < 0 ? -0.5f : 0.5f)); }

// A block of 32 values that are all smaller becomes zeros: 127 divided by the largest would be infinite.
CONSTEXPR f32 kSmallest = 1e-30f;

// log2(e): softmax is computed with powers of two.
CONSTEXPR f32 kLog2E = 1.44269504088896341f;
CONSTEXPR f32 kLn2 = 0.693147180559945309f;

GPU_FN f32 gelu_tanh(f32 x) {
  const f32 inner = 0.797884560802865356f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1 + tanh_(inner));
}

struct CosSin {
  f32 cos, sin;
};
// For |angle| < 2^17 or so, to about an ulp, in sums and products alone: the same bits on every device. The angle less
// n quarter turns is exact but for the last of three terms of pi / 2 (Cody and Waite); the polynomials are Cephes's.
GPU_FN CosSin cos_sin(f32 angle) {
  const f32 n = round_even(angle * 0.636619772367581343f);
  f32 r = mul_add(-n, 1.57079637050628662f, angle);
  r = mul_add(-n, -4.37113882867379e-8f, r);
  r = mul_add(-n, -1.71512451e-15f, r);
  const f32 z = r * r;
  const f32 s3 = mul_add(mul_add(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f);
  const f32 s = mul_add(s3 * z, r, r);
  const f32 c4 = mul_add(mul_add(2.443315711809948e-5f, z, -1.388731625493765e-3f), z, 4.166664568298827e-2f);
  const f32 c = mul_add(c4 * z, z, mul_add(-0.5f, z, 1.f));
  const i32 quarter = static_cast<i32>(n) & 3;
  const f32 cos = (quarter & 1) != 0 ? s : c, sin = (quarter & 1) != 0 ? c : s;
  return CosSin{quarter == 1 || quarter == 2 ? -cos : cos, quarter >= 2 ? -sin : sin};
}

}  // namespace gpu
}  // namespace t5g
