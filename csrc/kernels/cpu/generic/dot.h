// Integer dot products in plain C++.
#pragma once

#include T5G_VECTORS

namespace t5g::kernels {
namespace {

struct SignedBytes {
  int8_t byte[64];
};
constexpr int kSignedOffsetLog2 = -1;  // signed bytes are used as they are stored
inline SignedBytes signed_bytes(const Bytes64& a) {
  SignedBytes r;
  __builtin_memcpy(r.byte, a.byte, sizeof r.byte);
  return r;
}

inline I32x16 dot_signed(const I32x16& sum, const SignedBytes& w, const Quad& x) {
  I32x16 r;
  T5G_LANES {
    const int8_t* four = w.byte + 4 * i;
    r.lane[i] = sum.lane[i] + four[0] * x.value[0] + four[1] * x.value[1] + four[2] * x.value[2] + four[3] * x.value[3];
  }
  return r;
}

// For unsigned values below 32.
inline I32x16 dot_small(const I32x16& sum, const Bytes64& w, const Quad& x) {
  return dot_signed(sum, signed_bytes(w), x);
}

// The products of each lane's two numbers, added to its sum.
inline I32x16 dot_pairs(const I32x16& sum, const I16x32& a, const I16Pair& b) {
  I32x16 r;
  T5G_LANES r.lane[i] = sum.lane[i] + a.value[2 * i] * b.value[0] + a.value[2 * i + 1] * b.value[1];
  return r;
}

}  // namespace
}  // namespace t5g::kernels
