// Products of pairs of bfloat16 with VDPBF16PS.
//
// It adds the product of the odd halves first and then that of the even ones, each as a fused multiply-add: equal to
// common/pairs.h on 32 million random pairs, cancelling ones included. Subnormal numbers, which it flushes to zero, do
// not occur (see KvBF16).
#pragma once

#include "kernels/cpu/common/math.h"

namespace t5g::kernels {
namespace {

struct Pairs {
  __m512bh v;
};

inline Pairs as_pairs(I32x16 words) { return {reinterpret_cast<__m512bh>(words.v)}; }
inline Pairs load_pairs(const std::byte* from) { return as_pairs(load_bits(from)); }
inline Pairs splat_pair(const std::byte* from) {
  int32_t pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return {reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair))};
}

// What attention multiplies (see attention_pairs.h): pairs as they are, operands where they lie.
constexpr int kPairOperands = 4, kPairVectors = 4, kPairFloats = 1;
inline void store_rows(float* to, Pairs pairs) { _mm512_storeu_si512(to, reinterpret_cast<__m512i>(pairs.v)); }
inline Pairs load_rows(const float* from) { return load_pairs(reinterpret_cast<const std::byte*>(from)); }
inline const float* operands_of(const std::byte* from, int, float*) { return reinterpret_cast<const float*>(from); }
inline Pairs splat_operand(const float* pair) { return splat_pair(reinterpret_cast<const std::byte*>(pair)); }

inline F32x16 fma_pairs(Pairs a, Pairs b, F32x16 sum) { return {_mm512_dpbf16_ps(sum.v, a.v, b.v)}; }

// The mantissas of weights, and the order that brings the low halves of two vectors together.
struct WeightTables {
  alignas(64) uint8_t mantissas[128];
  alignas(64) uint16_t low_halves[32];
};
constexpr WeightTables kWeightTables = [] {
  WeightTables tables = {};
  for (int f = 0; f < 128; ++f) {
    const auto x = static_cast<float>(f);
    tables.mantissas[f] = static_cast<uint8_t>(x * (kMantissa[0] + x * (kMantissa[1] + x * kMantissa[2])) + 0.5f);
  }
  for (int i = 0; i < 32; ++i) tables.low_halves[i] = static_cast<uint16_t>(i / 2 * 2 + i % 2 * 32);
  return tables;
}();

// As in common/pairs.h, but mantissas are looked up.
inline Pairs pair_weights(F32x16 even, F32x16 odd) {
  const __m512i bits = _mm512_permutex2var_epi16(
      _mm512_castps_si512(even.v), _mm512_load_si512(kWeightTables.low_halves), _mm512_castps_si512(odd.v));
  const __m512i mantissa = _mm512_permutex2var_epi8(_mm512_load_si512(kWeightTables.mantissas), bits,
                                                    _mm512_load_si512(kWeightTables.mantissas + 64));
  return {reinterpret_cast<__m512bh>(_mm512_ternarylogic_epi32(_mm512_set1_epi16(127), mantissa, bits, 0xca))};
}

inline void store_bf16(std::byte* to, F32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a.v)));
}

}  // namespace
}  // namespace t5g::kernels
