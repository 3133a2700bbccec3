// Products of pairs of bfloat16 for levels without an instruction for them: each pair is unpacked to two floats, and
// the products are added one after the other, the odd one first, as VDPBF16PS does. What is broadcast is unpacked once
// for all rows, in memory, so that reading it costs no more than a float does.
#pragma once

#include "kernels/cpu/common/math.h"

namespace t5g::kernels {
namespace {

struct Pairs {
  F32x16 even, odd;
};

inline Pairs unpack_pairs(const I32x16& pairs) {
  return {as_float(shift_left<16>(pairs)), as_float(pairs & splat(static_cast<int32_t>(0xffff0000u)))};
}
inline Pairs load_pairs(const std::byte* from) { return unpack_pairs(load_bits(from)); }
inline Pairs splat_pair(const std::byte* from) {
  int32_t pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return unpack_pairs(splat(pair));
}
// Of attention's operands (see attention_pairs.h), sixteen pairs a step: the odd ones, then the even ones.
constexpr int kOperandFloats = 32;
inline const float* operands_of(const std::byte* from, int steps, float* unpacked) {
  for (int step = 0; step < steps; ++step) {
    const Pairs pairs = load_pairs(from + step * 64);
    store(unpacked + step * kOperandFloats, pairs.odd);
    store(unpacked + step * kOperandFloats + 16, pairs.even);
  }
  return unpacked;
}
inline Pairs splat_operand(const float* operands, int i) { return {splat(operands[16 + i]), splat(operands[i])}; }
constexpr int kPairOperands = Tiles::kPairOperands, kPairVectors = Tiles::kPairVectors;

inline F32x16 fma_pairs(const Pairs& a, const Pairs& b, const F32x16& sum) {
  return fma(a.even, b.even, fma(a.odd, b.odd, sum));
}

// The bfloat16 that an even_weight() stands for, in the low half.
inline I32x16 weight_bits(const F32x16& even) {
  const I32x16 bits = as_bits(even);
  const F32x16 f = to_float(bits & splat(127));
  const F32x16 slope = fma(fma(splat(kMantissa[2]), f, splat(kMantissa[1])), f, splat(kMantissa[0]));
  return (bits & splat(0xff80)) + (as_bits(fma(slope, f, splat(kRoundToInt))) & splat(127));
}
// Weights of two keys.
inline Pairs pair_weights(const F32x16& even, const F32x16& odd, std::byte* to) {
  const I32x16 pairs = weight_bits(even) + shift_left<16>(weight_bits(odd));
  store(to, pairs);
  return unpack_pairs(pairs);
}

// Rounded to nearest even. Not for NaN.
inline void store_bf16(std::byte* to, const F32x16& a) {
  const I32x16 bits = as_bits(a);
  store_high_halves(to, bits + splat(0x7fff) + (shift_right<16>(bits) & splat(1)));
}

}  // namespace
}  // namespace t5g::kernels
