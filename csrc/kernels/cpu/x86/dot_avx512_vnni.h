// Integer dot products with VPDPBUSD, which multiplies unsigned bytes (the weights) with signed ones.
#pragma once

#include T5G_VECTORS

namespace t5g::kernels {
namespace {

// Signed weights become unsigned by adding 128; 128 times the sum of the activations is taken off again.
struct SignedBytes {
  __m512i plus_128;
};
constexpr int kSignedOffsetLog2 = 7;
inline SignedBytes signed_bytes(Bytes64 a) { return {_mm512_xor_si512(a.v, _mm512_set1_epi8(-128))}; }

inline I32x16 dot_signed(I32x16 sum, SignedBytes w, Quad x) { return {_mm512_dpbusd_epi32(sum.v, w.plus_128, x.v)}; }
inline I32x16 dot_small(I32x16 sum, Bytes64 w, Quad x) { return {_mm512_dpbusd_epi32(sum.v, w.v, x.v)}; }

inline I32x16 dot_pairs(I32x16 sum, I16x32 a, I16Pair b) { return {_mm512_dpwssd_epi32(sum.v, a.v, b.v)}; }

}  // namespace
}  // namespace t5g::kernels
