// Products of pairs of bfloat16 with VDPBF16PS.
//
// It adds the product of the odd halves first and then that of the even ones, each as a fused multiply-add: equal to
// common/pairs.h on 32 million random pairs, cancelling ones included. Subnormal numbers, which it flushes to zero, do
// not occur (see KvBF16).
#pragma once

#include T5G_VECTORS

namespace t5g::kernels {
namespace {

struct Pairs {
  __m512bh v;
};

inline Pairs load_pairs(const std::byte* from) { return {reinterpret_cast<__m512bh>(_mm512_loadu_si512(from))}; }
inline Pairs splat_pair(const std::byte* from) {
  int32_t pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return {reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair))};
}
inline F32x16 fma_pairs(Pairs a, Pairs b, F32x16 sum) { return {_mm512_dpbf16_ps(sum.v, a.v, b.v)}; }

// The instruction's latency asks for 16 sums or more.
struct PairShape {
  static constexpr int kScoreRows = 12, kScoreTiles = 2;
  static constexpr int kValueVectors = 4;
  static constexpr bool kFiveVectors = true;  // 72 columns
  static constexpr int value_rows(int vectors) { return vectors == 4 ? 6 : vectors == 5 ? 4 : 8; }
};

inline void store_bf16(std::byte* to, F32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a.v)));
}

}  // namespace
}  // namespace t5g::kernels
