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

// Scores that become weights of 8 bits are in units of log2(e) / 128: those bits hold no finer exponent.
constexpr float kUnitsPerOctave = 128.0f;
constexpr float kScoreUnits = 0x1.715476p+0f * kUnitsPerOctave;

// 2^(score / 128), at least 2^-50, as what its bfloat16 would be if mantissas grew evenly: that is a fixed-point
// number, in the low 16 bits of the result.
inline F32x16 even_weight(const F32x16& score) {
  return max(score, splat(-50.0f * kUnitsPerOctave)) + splat(kRoundToInt + 127.0f * kUnitsPerOctave);
}
constexpr float kNoWeight = kRoundToInt;  // stands for 0
// The mantissa of 2^(f / 128) for f in [0, 128): round(f * (a + f * (b + f * c))), at most 0.52 from the true one.
constexpr float kMantissa[3] = {0x1.6417f4p-1f, 0x1.cfb5f6p-10f, 0x1.3f361ep-18f};

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
