// exp and tanh for sixteen lanes: one sequence of operations at every level, so that all levels agree to the bit.
#pragma once

#include T5G_VECTORS  // the level's own, named by its source file

namespace t5g::kernels {
namespace {

// Adding this to a float of magnitude below 2^22 rounds it to an integer, which then fills the low bits.
constexpr float kRoundToInt = 0x1.8p23f;
constexpr int32_t kRoundToIntBits = 0x4b400000;

constexpr float kInfinity = __builtin_inff();

// Blocks to be quantised whose largest value is below this become zero: the reciprocal of their scale would overflow.
constexpr float kSmallestQuantized = 0x1p-100f;

// Of a row of n values, those from i on, up to a vector.
inline int lanes_left(int64_t n, int64_t i) { return n - i < 16 ? static_cast<int>(n - i) : 16; }

// e^x = 2^n * (1 + p).
struct ExpParts {
  F32x16 power;  // 2^n
  F32x16 p;      // e^r - 1, |r| <= log(2) / 2, to 2.6e-8 of its value
};

// x in [-87.33, 88].
inline ExpParts exp_parts(const F32x16& x) {
  const F32x16 shifted = fma(x, splat(0x1.715476p+0f), splat(kRoundToInt));  // n = round(x / log(2))
  const F32x16 n = shifted - splat(kRoundToInt);
  F32x16 r = fma(n, splat(-0x1.62e400p-1f), x);  // log(2) in two parts: n times the first is exact
  r = fma(n, splat(-0x1.7f7d1cp-20f), r);
  // (e^r - 1 - r) / r^2, fitted on Chebyshev nodes.
  F32x16 q = splat(0x1.6d431cp-10f);
  q = fma(q, r, splat(0x1.120b6ap-7f));
  q = fma(q, r, splat(0x1.5554eap-5f));
  q = fma(q, r, splat(0x1.5554dcp-3f));
  q = fma(q, r, splat(0.5f));
  const F32x16 power = as_float(shift_left<23>(as_bits(shifted) + splat(127)));
  return {power, fma(r * r, q, r)};
}

// e^x for x <= 0, within 1.5 units in the last place. 0 where the result would be subnormal.
inline F32x16 exp_of_nonpositive(const F32x16& x) {
  const ExpParts e = exp_parts(x);
  return select(less(x, splat(-0x1.5d589ep+6f)), splat(0.0f), fma(e.power, e.p, e.power));
}

// e^x for x <= 0 to 1e-4 of its value, for results that are then rounded to 8 bits: 2^n times a cubic fitted to 2^r.
// 0 below 2^-50.
inline F32x16 coarse_exp_of_nonpositive(const F32x16& x) {
  const F32x16 log2_e = splat(0x1.715476p+0f), bounded = max(x, splat(-41.0f));
  const F32x16 shifted = fma(bounded, log2_e, splat(kRoundToInt));
  const F32x16 r = fma(bounded, log2_e, splat(kRoundToInt) - shifted);
  F32x16 p = splat(0x1.c3f760p-5f);
  p = fma(p, r, splat(0x1.f0de1ap-3f));
  p = fma(p, r, splat(0x1.62f31ap-1f));
  p = fma(p, r, splat(0x1.fff692p-1f));
  const F32x16 e = as_float(as_bits(p) + shift_left<23>(as_bits(shifted)));
  return select(less(e, splat(0x1p-50f)), splat(0.0f), e);
}

// tanh|x| = (1 - e^-2|x|) / (1 + e^-2|x|), with e^t - 1 formed without cancellation: right to a few units in the last
// place near zero too.
inline F32x16 tanh(const F32x16& x) {
  const F32x16 magnitude = abs(x);
  // Beyond 10 the result is 1.
  const F32x16 t = select(less(magnitude, splat(10.0f)), magnitude, splat(10.0f)) * splat(-2.0f);
  const ExpParts e = exp_parts(t);
  const F32x16 minus = fma(e.power, e.p, e.power - splat(1.0f));  // e^t - 1
  return copy_sign(minus / (minus + splat(2.0f)), x);
}

inline F32x16 soft_cap(const F32x16& x, const F32x16& cap) { return cap * tanh(x / cap); }

}  // namespace
}  // namespace t5g::kernels
