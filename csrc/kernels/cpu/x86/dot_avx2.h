// Integer dot products of 256-bit registers: unsigned times signed bytes, summed in pairs and in fours.
#pragma once

#include T5G_VECTORS

namespace t5g::kernels {
namespace {

// The pair sums are 16 bits wide and saturate, so the magnitude of a weight goes with the sign put on the activation:
// 2 * 128 * 127 still fits.
struct SignedBytes {
  Bytes64 value, magnitude;
};
constexpr int kSignedOffsetLog2 = -1;
inline SignedBytes signed_bytes(const Bytes64& a) { return {a, {_mm256_abs_epi8(a.low), _mm256_abs_epi8(a.high)}}; }

inline __m256i add_products(__m256i sum, __m256i unsigned_bytes, __m256i signed_bytes) {
  const __m256i pairs = _mm256_maddubs_epi16(unsigned_bytes, signed_bytes);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline I32x16 dot_signed(const I32x16& sum, const SignedBytes& w, const Quad& x) {
  return {add_products(sum.low, w.magnitude.low, _mm256_sign_epi8(x.v, w.value.low)),
          add_products(sum.high, w.magnitude.high, _mm256_sign_epi8(x.v, w.value.high))};
}
inline I32x16 dot_small(const I32x16& sum, const Bytes64& w, const Quad& x) {
  return {add_products(sum.low, w.low, x.v), add_products(sum.high, w.high, x.v)};
}

inline I32x16 dot_pairs(const I32x16& sum, const I16x32& a, const I16Pair& b) {
  return {_mm256_add_epi32(sum.low, _mm256_madd_epi16(a.low, b.v)),
          _mm256_add_epi32(sum.high, _mm256_madd_epi16(a.high, b.v))};
}

}  // namespace
}  // namespace t5g::kernels
