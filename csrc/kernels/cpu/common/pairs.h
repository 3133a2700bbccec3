// Products of pairs of bfloat16 for levels without an instruction for them: each pair is unpacked to two floats, and
// the products are added one after the other, the odd one first, as VDPBF16PS does. What attention multiplies often is
// unpacked once, in memory: unpacking takes the time of the same units.
#pragma once

#include "kernels/cpu/common/math.h"

namespace t5g::kernels {
namespace {

struct Pairs {
  F32x16 even, odd;
};

inline Pairs as_pairs(const I32x16& words) {
  return {as_float(shift_left<16>(words)), as_float(words & splat(static_cast<int32_t>(0xffff0000u)))};
}
inline Pairs load_pairs(const std::byte* from) { return as_pairs(load_bits(from)); }
inline Pairs splat_pair(const std::byte* from) {
  int32_t pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return as_pairs(splat(pair));
}

// What attention multiplies (see attention_pairs.h): pairs of two floats.
constexpr int kPairOperands = Tiles::kPairOperands, kPairVectors = Tiles::kPairVectors, kPairFloats = 2;
// Those of sixteen rows: the even ones, then the odd ones.
inline void store_rows(float* to, const Pairs& pairs) {
  store(to, pairs.even);
  store(to + 16, pairs.odd);
}
inline Pairs load_rows(const float* from) { return {load(from), load(from + 16)}; }
// Sixteen operands a step, each the even one and then the odd one.
inline const float* operands_of(const std::byte* from, int steps, float* unpacked) {
  for (int i = 0; i < 2 * steps; ++i) store(unpacked + 16 * i, load_bf16(from + 32 * i));
  return unpacked;
}
inline Pairs splat_operand(const float* pair) { return {splat(pair[0]), splat(pair[1])}; }

inline F32x16 fma_pairs(const Pairs& a, const Pairs& b, const F32x16& sum) {
  return fma(a.even, b.even, fma(a.odd, b.odd, sum));
}

// The bfloat16 that an even_weight() stands for. What its mantissa lacks is added to it, at most 0; rounded, it is for
// all 128 of them as if the mantissa were.
inline F32x16 true_weight(const F32x16& even) {
  const I32x16 bits = as_bits(even);
  const F32x16 f = to_float(bits & splat(127));
  const F32x16 slope = fma(fma(splat(kMantissa[2]), f, splat(kMantissa[1])), f, splat(kMantissa[0] - 1.0f));
  return as_float(shift_left<16>(bits + as_bits(fma(slope, f, splat(kRoundToInt)))));
}
// Weights of two keys.
inline Pairs pair_weights(const F32x16& even, const F32x16& odd) { return {true_weight(even), true_weight(odd)}; }

// Rounded to nearest even. Not for NaN.
inline void store_bf16(std::byte* to, const F32x16& a) {
  const I32x16 bits = as_bits(a);
  store_high_halves(to, bits + splat(0x7fff) + (shift_right<16>(bits) & splat(1)));
}

}  // namespace
}  // namespace t5g::kernels
