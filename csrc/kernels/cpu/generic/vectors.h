// Sixteen lanes in plain C++: the meaning of every operation that the other levels have instructions for, and the
// fallback for CPUs without any of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace t5g::kernels {
namespace {

struct F32x16 {
  float lane[16];
};
struct I32x16 {
  int32_t lane[16];
};
struct Mask16 {
  uint32_t lane[16];  // all ones or zero
};
struct Bytes64 {
  uint8_t byte[64];
};

#define T5G_LANES for (int i = 0; i < 16; ++i)

inline float bits_to_float(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

// a * b + c, rounded once.
#if defined(__FMA__) || defined(__aarch64__)
inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
// Without the instruction: the product is exact in double. The sum may be rounded there and again to float, so its last
// bit is made odd whenever it was inexact; then the second rounding sees on which side of a tie the true sum lies.
inline float fused(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b), addend = static_cast<double>(c);
  const double sum = product + addend;
  const double virtual_addend = sum - product;
  const double error = (product - (sum - virtual_addend)) + (addend - virtual_addend);
  uint64_t bits;
  __builtin_memcpy(&bits, &sum, sizeof bits);
  const uint64_t inexact = (error < 0) | (error > 0);
  const uint64_t toward_zero = (error > 0) != (sum > 0);
  const uint64_t even = ~bits & 1;
  bits += (inexact & even) * (1 - 2 * toward_zero);
  double odd;
  __builtin_memcpy(&odd, &bits, sizeof odd);
  return static_cast<float>(odd);
}
#endif

inline F32x16 load(const float* from) {
  F32x16 r;
  T5G_LANES r.lane[i] = from[i];
  return r;
}
// The first n lanes, n in [0, 16]; the others are zero and their memory is not read.
inline F32x16 load_first(const float* from, int n) {
  F32x16 r;
  T5G_LANES r.lane[i] = i < n ? from[i] : 0.0f;
  return r;
}
inline void store(float* to, const F32x16& a) { T5G_LANES to[i] = a.lane[i]; }
inline void store_first(float* to, const F32x16& a, int n) {
  for (int i = 0; i < n; ++i) to[i] = a.lane[i];
}
inline F32x16 splat(float value) {
  F32x16 r;
  T5G_LANES r.lane[i] = value;
  return r;
}

inline F32x16 operator+(const F32x16& a, const F32x16& b) {
  F32x16 r;
  T5G_LANES r.lane[i] = a.lane[i] + b.lane[i];
  return r;
}
inline F32x16 operator-(const F32x16& a, const F32x16& b) {
  F32x16 r;
  T5G_LANES r.lane[i] = a.lane[i] - b.lane[i];
  return r;
}
inline F32x16 operator*(const F32x16& a, const F32x16& b) {
  F32x16 r;
  T5G_LANES r.lane[i] = a.lane[i] * b.lane[i];
  return r;
}
inline F32x16 operator/(const F32x16& a, const F32x16& b) {
  F32x16 r;
  T5G_LANES r.lane[i] = a.lane[i] / b.lane[i];
  return r;
}
inline F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  F32x16 r;
  T5G_LANES r.lane[i] = fused(a.lane[i], b.lane[i], c.lane[i]);
  return r;
}
inline F32x16 max(const F32x16& a, const F32x16& b) {
  F32x16 r;
  T5G_LANES r.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
  return r;
}
inline F32x16 abs(const F32x16& a) {
  F32x16 r;
  T5G_LANES r.lane[i] = bits_to_float(float_to_bits(a.lane[i]) & 0x7fffffffu);
  return r;
}
// The magnitude of a with the sign of b.
inline F32x16 copy_sign(const F32x16& a, const F32x16& b) {
  F32x16 r;
  T5G_LANES r.lane[i] =
      bits_to_float((float_to_bits(a.lane[i]) & 0x7fffffffu) | (float_to_bits(b.lane[i]) & 0x80000000u));
  return r;
}

inline Mask16 less(const F32x16& a, const F32x16& b) {
  Mask16 r;
  T5G_LANES r.lane[i] = a.lane[i] < b.lane[i] ? ~0u : 0u;
  return r;
}
inline bool any(const Mask16& mask) {
  uint32_t r = 0;
  T5G_LANES r |= mask.lane[i];
  return r != 0;
}
// Lanes i with begin <= i < end.
inline Mask16 lanes_between(int begin, int end) {
  Mask16 r;
  T5G_LANES r.lane[i] = begin <= i && i < end ? ~0u : 0u;
  return r;
}
// mask ? a : b, lane by lane.
inline F32x16 select(const Mask16& mask, const F32x16& a, const F32x16& b) {
  F32x16 r;
  T5G_LANES r.lane[i] =
      bits_to_float((float_to_bits(a.lane[i]) & mask.lane[i]) | (float_to_bits(b.lane[i]) & ~mask.lane[i]));
  return r;
}

// Lanes i and i + 8 first, then i and i + 4, i + 2, i + 1: the same tree at every level.
inline float sum_lanes(F32x16 a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.lane[i] += a.lane[i + half];
  }
  return a.lane[0];
}
inline float max_lane(const F32x16& a) {
  float r = a.lane[0];
  T5G_LANES r = a.lane[i] > r ? a.lane[i] : r;
  return r;
}

inline I32x16 splat(int32_t value) {
  I32x16 r;
  T5G_LANES r.lane[i] = value;
  return r;
}
// Sums wrap around, as those of vectors do.
inline I32x16 operator+(const I32x16& a, const I32x16& b) {
  I32x16 r;
  T5G_LANES r.lane[i] = static_cast<int32_t>(static_cast<uint32_t>(a.lane[i]) + static_cast<uint32_t>(b.lane[i]));
  return r;
}
inline I32x16 operator-(const I32x16& a, const I32x16& b) {
  I32x16 r;
  T5G_LANES r.lane[i] = static_cast<int32_t>(static_cast<uint32_t>(a.lane[i]) - static_cast<uint32_t>(b.lane[i]));
  return r;
}
inline I32x16 operator&(const I32x16& a, const I32x16& b) {
  I32x16 r;
  T5G_LANES r.lane[i] = a.lane[i] & b.lane[i];
  return r;
}
template <int kBits>
inline I32x16 shift_left(const I32x16& a) {
  I32x16 r;
  T5G_LANES r.lane[i] = static_cast<int32_t>(static_cast<uint32_t>(a.lane[i]) << kBits);
  return r;
}
// Zeros come in from the left.
template <int kBits>
inline I32x16 shift_right(const I32x16& a) {
  I32x16 r;
  T5G_LANES r.lane[i] = static_cast<int32_t>(static_cast<uint32_t>(a.lane[i]) >> kBits);
  return r;
}
inline int32_t sum_lanes(const I32x16& a) {
  int32_t r = 0;
  T5G_LANES r += a.lane[i];
  return r;
}
inline F32x16 to_float(const I32x16& a) {
  F32x16 r;
  T5G_LANES r.lane[i] = static_cast<float>(a.lane[i]);
  return r;
}
inline I32x16 as_bits(const F32x16& a) {
  I32x16 r;
  T5G_LANES r.lane[i] = static_cast<int32_t>(float_to_bits(a.lane[i]));
  return r;
}
inline F32x16 as_float(const I32x16& a) {
  F32x16 r;
  T5G_LANES r.lane[i] = bits_to_float(static_cast<uint32_t>(a.lane[i]));
  return r;
}
inline I32x16 load_bits(const std::byte* from) {
  I32x16 r;
  __builtin_memcpy(r.lane, from, sizeof r.lane);
  return r;
}
// The low byte of every lane.
inline void store_low_bytes(int8_t* to, const I32x16& a) { T5G_LANES to[i] = static_cast<int8_t>(a.lane[i]); }
// The upper 16 bits of every lane.
inline void store_high_halves(std::byte* to, const I32x16& a) {
  uint16_t halves[16];
  T5G_LANES halves[i] = static_cast<uint16_t>(static_cast<uint32_t>(a.lane[i]) >> 16);
  __builtin_memcpy(to, halves, sizeof halves);
}
// 16 signed bytes.
inline F32x16 load_i8(const std::byte* from) {
  F32x16 r;
  T5G_LANES r.lane[i] = static_cast<float>(static_cast<int8_t>(from[i]));
  return r;
}

// 16 bfloat16.
inline F32x16 load_bf16(const std::byte* from) {
  uint16_t halves[16];
  __builtin_memcpy(halves, from, sizeof halves);
  F32x16 r;
  T5G_LANES r.lane[i] = bits_to_float(static_cast<uint32_t>(halves[i]) << 16);
  return r;
}

inline F32x16 load_f16(const std::byte* from) {
  uint16_t halves[16];
  __builtin_memcpy(halves, from, sizeof halves);
  F32x16 r;
  T5G_LANES {
    // The exponent's bias is 112 larger in a float; a product is exact for subnormal halves too.
    const uint32_t magnitude = halves[i] & 0x7fffu;
    const uint32_t finite = float_to_bits(bits_to_float(magnitude << 13) * 0x1p112f);
    const uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;
    r.lane[i] = bits_to_float(finite | special | static_cast<uint32_t>(halves[i] & 0x8000u) << 16);
  }
  return r;
}

// Rounded to nearest even; beyond 65504 the largest half. Not for NaN.
inline void store_f16(std::byte* to, const F32x16& a) {
  uint16_t halves[16];
  T5G_LANES {
    const uint32_t bits = float_to_bits(a.lane[i]), magnitude = bits & 0x7fffffffu;
    // Below the smallest normal half: adding 2^-1 aligns the last kept bit with the float's last bit, which rounds.
    const uint32_t subnormal = float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    const uint32_t half = magnitude < 0x38800000u ? subnormal : normal < 0x7bffu ? normal : 0x7bffu;
    halves[i] = static_cast<uint16_t>(half | (bits >> 16 & 0x8000u));
  }
  __builtin_memcpy(to, halves, sizeof halves);
}

// Four activations, which meet four consecutive values of each of 16 rows.
struct Quad {
  int8_t value[4];
};
inline Quad load_quad(const int8_t* from) { return {{from[0], from[1], from[2], from[3]}}; }

// Two whole numbers of 16 bits in each lane, and two that meet those of every lane.
struct I16x32 {
  int16_t value[32];
};
struct I16Pair {
  int32_t value[2];
};
// 32 signed bytes.
inline I16x32 load_i8_pairs(const std::byte* from) {
  I16x32 r;
  for (int i = 0; i < 32; ++i) r.value[i] = static_cast<int8_t>(from[i]);
  return r;
}
inline I16Pair load_pair(const int16_t* from) { return {{from[0], from[1]}}; }

inline Bytes64 load_bytes(const std::byte* from) {
  Bytes64 r;
  __builtin_memcpy(r.byte, from, sizeof r.byte);
  return r;
}
inline Bytes64 low_nibbles(const Bytes64& a) {
  Bytes64 r;
  for (int i = 0; i < 64; ++i) r.byte[i] = a.byte[i] & 15;
  return r;
}
inline Bytes64 high_nibbles(const Bytes64& a) {
  Bytes64 r;
  for (int i = 0; i < 64; ++i) r.byte[i] = static_cast<uint8_t>(a.byte[i] >> 4);
  return r;
}
// low, plus 16 wherever bit `bit` of the byte of `bits` is set.
inline Bytes64 add_fifth_bit(const Bytes64& low, const Bytes64& bits, int bit) {
  Bytes64 r;
  for (int i = 0; i < 64; ++i) r.byte[i] = static_cast<uint8_t>(low.byte[i] | ((bits.byte[i] >> bit & 1) << 4));
  return r;
}

inline I32x16 as_words(const Bytes64& a) {
  I32x16 r;
  __builtin_memcpy(r.lane, a.byte, sizeof r.lane);
  return r;
}
inline void store(std::byte* to, const I32x16& a) { __builtin_memcpy(to, a.lane, sizeof a.lane); }
// Within every quarter: lane i of vector j becomes lane j of vector i.
inline void transpose_quads(I32x16 (&a)[4]) {
  const I32x16 from[4] = {a[0], a[1], a[2], a[3]};
  for (int j = 0; j < 4; ++j) T5G_LANES a[j].lane[i] = from[i % 4].lane[i / 4 * 4 + j];
}
// Quarter i of vector j becomes quarter j of vector i.
inline void transpose_quarters(I32x16 (&a)[4]) {
  const I32x16 from[4] = {a[0], a[1], a[2], a[3]};
  for (int j = 0; j < 4; ++j) T5G_LANES a[j].lane[i] = from[i / 4].lane[4 * j + i % 4];
}
// Bytes whose upper halves are the low (high) nibbles of `high`, their lower halves those of `low`.
inline Bytes64 join_low_nibbles(const Bytes64& high, const Bytes64& low) {
  Bytes64 r;
  for (int i = 0; i < 64; ++i) r.byte[i] = static_cast<uint8_t>(high.byte[i] << 4 | (low.byte[i] & 15));
  return r;
}
inline Bytes64 join_high_nibbles(const Bytes64& high, const Bytes64& low) {
  Bytes64 r;
  for (int i = 0; i < 64; ++i) r.byte[i] = static_cast<uint8_t>((high.byte[i] & 0xf0) | low.byte[i] >> 4);
  return r;
}
// Bytes in 0 .. 255 minus 128, as signed ones.
inline Bytes64 flip_top_bits(const Bytes64& a) {
  Bytes64 r;
  for (int i = 0; i < 64; ++i) r.byte[i] = a.byte[i] ^ 128;
  return r;
}

// How much of a matrix product is held in registers at once (see common/matmul.h, attention.h and latent.h).
struct Tiles {
  static constexpr int kFloatGroups = 1, kFloatRows = 1, kFloatMatvecGroups = 1;
  static constexpr int kQuantizedGroups = 1, kQuantizedRows = 1;
  static constexpr int kScoreRows = 1, kScoreTiles = 1;
  static constexpr int kValueRows = 1, kValueVectors = 1;
  static constexpr int kPairOperands = 4, kPairVectors = 1;
  static constexpr int kLatentRows = 1, kLatentKeys = 1;
};

}  // namespace
}  // namespace t5g::kernels
