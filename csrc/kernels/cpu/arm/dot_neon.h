// Integer dot products of 128-bit registers: products of 16 bits, summed in pairs and in fours.
#pragma once

#include T5G_VECTORS

namespace t5g::kernels {
namespace {

using SignedBytes = Bytes64;
constexpr int kSignedOffsetLog2 = -1;  // signed bytes are used as they are stored
inline SignedBytes signed_bytes(const Bytes64& a) { return a; }

// A pair of products is at most 2 * 128 * 127: it fits 16 bits.
inline int32x4_t add_products(int32x4_t sum, uint8x16_t w, int8x16_t x) {
  const int8x16_t values = vreinterpretq_s8_u8(w);
  const int16x8_t low = vmull_s8(vget_low_s8(values), vget_low_s8(x));
  return vpadalq_s16(sum, vpaddq_s16(low, vmull_high_s8(values, x)));
}
inline I32x16 dot_signed(const I32x16& sum, const SignedBytes& w, const Quad& x) {
  return {{add_products(sum.q[0], w.q[0], x.v), add_products(sum.q[1], w.q[1], x.v),
           add_products(sum.q[2], w.q[2], x.v), add_products(sum.q[3], w.q[3], x.v)}};
}
inline I32x16 dot_small(const I32x16& sum, const Bytes64& w, const Quad& x) { return dot_signed(sum, w, x); }

}  // namespace
}  // namespace t5g::kernels
