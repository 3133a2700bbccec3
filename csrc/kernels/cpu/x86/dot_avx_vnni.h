// Integer dot products with the VEX-coded VPDPBUSD, which multiplies unsigned bytes (the weights) with signed ones.
#pragma once

#include T5G_VECTORS

namespace t5g::kernels {
namespace {

// Signed weights become unsigned by adding 128; 128 times the sum of the activations is taken off again.
struct SignedBytes {
  Bytes64 plus_128;
};
constexpr int kSignedOffsetLog2 = 7;
inline SignedBytes signed_bytes(const Bytes64& a) {
  const __m256i sign = _mm256_set1_epi8(-128);
  return {{_mm256_xor_si256(a.low, sign), _mm256_xor_si256(a.high, sign)}};
}

inline I32x16 dot_small(const I32x16& sum, const Bytes64& w, const Quad& x) {
  return {_mm256_dpbusd_avx_epi32(sum.low, w.low, x.v), _mm256_dpbusd_avx_epi32(sum.high, w.high, x.v)};
}
inline I32x16 dot_signed(const I32x16& sum, const SignedBytes& w, const Quad& x) {
  return dot_small(sum, w.plus_128, x);
}

inline I32x16 dot_pairs(const I32x16& sum, const I16x32& a, const I16Pair& b) {
  return {_mm256_dpwssd_avx_epi32(sum.low, a.low, b.v), _mm256_dpwssd_avx_epi32(sum.high, a.high, b.v)};
}

}  // namespace
}  // namespace t5g::kernels
