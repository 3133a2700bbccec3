// exp and tanh for sixteen lanes: one sequence of operations at every level, so that all levels agree to the bit.
#pragma once

#include T5G_VECTORS  // the level's own, named by its source file

namespace t5g::kernels {
namespace {

// Adding this to a float of magnitude below 2^22 rounds it to an integer, which then fills the low bits.
constexpr float kRoundToInt = 0x1.8p23f;
constexpr int32_t kRoundToIntBits = 0x4b400000;

constexpr float kInfinity = __builtin_inff();

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

}  // namespace
}  // namespace t5g::kernels
