// Integer dot products of 512-bit registers without VNNI: unsigned times signed bytes, summed in pairs and in fours.
#pragma once

#include T5G_VECTORS

namespace t5g::kernels {
namespace {

// The pair sums are 16 bits wide and saturate, so the magnitude of a weight goes with the sign put on the activation:
// 2 * 128 * 127 still fits.
struct SignedBytes {
  __m512i magnitude;
  __mmask64 negative;
};
constexpr int kSignedOffsetLog2 = -1;
inline SignedBytes signed_bytes(Bytes64 a) { return {_mm512_abs_epi8(a.v), _mm512_movepi8_mask(a.v)}; }

inline I32x16 add_products(I32x16 sum, __m512i unsigned_bytes, __m512i signed_bytes) {
  const __m512i pairs = _mm512_maddubs_epi16(unsigned_bytes, signed_bytes);
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
}
inline I32x16 dot_signed(I32x16 sum, SignedBytes w, Quad x) {
  return add_products(sum, w.magnitude, _mm512_mask_sub_epi8(x.v, w.negative, _mm512_setzero_si512(), x.v));
}
inline I32x16 dot_small(I32x16 sum, Bytes64 w, Quad x) { return add_products(sum, w.v, x.v); }

inline I32x16 dot_pairs(I32x16 sum, I16x32 a, I16Pair b) {
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(a.v, b.v))};
}

}  // namespace
}  // namespace t5g::kernels
