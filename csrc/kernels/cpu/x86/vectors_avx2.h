// Sixteen lanes in two 256-bit registers. What each function means is said in generic/vectors.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace t5g::kernels {
namespace {

struct F32x16 {
  __m256 low, high;
};
struct I32x16 {
  __m256i low, high;
};
struct Mask16 {
  __m256 low, high;  // all ones or zero in each lane
};
struct Bytes64 {
  __m256i low, high;
};

// All ones in the lanes i of [begin, end), counted from `first` in the lowest lane.
inline __m256i eight_between(int begin, int end, int first) {
  const __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
  return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane),
                             _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
}

inline F32x16 load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline F32x16 load_first(const float* from, int n) {
  return {_mm256_maskload_ps(from, eight_between(0, n, 0)), _mm256_maskload_ps(from + 8, eight_between(0, n, 8))};
}
inline void store(float* to, const F32x16& a) {
  _mm256_storeu_ps(to, a.low);
  _mm256_storeu_ps(to + 8, a.high);
}
inline void store_first(float* to, const F32x16& a, int n) {
  _mm256_maskstore_ps(to, eight_between(0, n, 0), a.low);
  _mm256_maskstore_ps(to + 8, eight_between(0, n, 8), a.high);
}
inline F32x16 splat(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }

inline F32x16 operator+(const F32x16& a, const F32x16& b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline F32x16 operator-(const F32x16& a, const F32x16& b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline F32x16 operator*(const F32x16& a, const F32x16& b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline F32x16 operator/(const F32x16& a, const F32x16& b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline F32x16 max(const F32x16& a, const F32x16& b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline F32x16 abs(const F32x16& a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
inline F32x16 copy_sign(const F32x16& a, const F32x16& b) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(sign, a.low), _mm256_and_ps(sign, b.low)),
          _mm256_or_ps(_mm256_andnot_ps(sign, a.high), _mm256_and_ps(sign, b.high))};
}

inline Mask16 less(const F32x16& a, const F32x16& b) {
  return {_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
}
inline bool any(const Mask16& mask) { return _mm256_movemask_ps(_mm256_or_ps(mask.low, mask.high)) != 0; }
inline Mask16 lanes_between(int begin, int end) {
  return {_mm256_castsi256_ps(eight_between(begin, end, 0)), _mm256_castsi256_ps(eight_between(begin, end, 8))};
}
inline F32x16 select(const Mask16& mask, const F32x16& a, const F32x16& b) {
  return {_mm256_blendv_ps(b.low, a.low, mask.low), _mm256_blendv_ps(b.high, a.high, mask.high)};
}

inline float sum_lanes(const F32x16& a) {
  const __m256 eight = _mm256_add_ps(a.low, a.high);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float max_lane(const F32x16& a) {
  const __m256 eight = _mm256_max_ps(a.low, a.high);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

inline I32x16 splat(int32_t value) { return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)}; }
inline I32x16 operator+(const I32x16& a, const I32x16& b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline I32x16 operator-(const I32x16& a, const I32x16& b) {
  return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)};
}
inline I32x16 operator&(const I32x16& a, const I32x16& b) {
  return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
template <int kBits>
inline I32x16 shift_left(const I32x16& a) {
  return {_mm256_slli_epi32(a.low, kBits), _mm256_slli_epi32(a.high, kBits)};
}
template <int kBits>
inline I32x16 shift_right(const I32x16& a) {
  return {_mm256_srli_epi32(a.low, kBits), _mm256_srli_epi32(a.high, kBits)};
}
inline int32_t sum_lanes(const I32x16& a) {
  const __m256i eight = _mm256_add_epi32(a.low, a.high);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
inline F32x16 to_float(const I32x16& a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
inline I32x16 as_bits(const F32x16& a) { return {_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)}; }
inline F32x16 as_float(const I32x16& a) { return {_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)}; }
inline void store_low_bytes(int8_t* to, const I32x16& a) {
  // Within each half of a register: the low bytes of four lanes to its first four bytes.
  const __m256i low_bytes = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                             0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i bytes = _mm256_unpacklo_epi32(_mm256_shuffle_epi8(a.low, low_bytes),  //
                                              _mm256_shuffle_epi8(a.high, low_bytes));
  // bytes: lanes 0-3, 8-11 in the lower half, 4-7, 12-15 in the upper one.
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
}

inline I32x16 load_bits(const std::byte* from) {
  const __m256i* vectors = reinterpret_cast<const __m256i*>(from);
  return {_mm256_loadu_si256(vectors), _mm256_loadu_si256(vectors + 1)};
}
inline void store_high_halves(std::byte* to, const I32x16& a) {
  // Shifted down arithmetically, so that packing with signed saturation keeps all bits; then the quarters in order.
  const __m256i packed = _mm256_packs_epi32(_mm256_srai_epi32(a.low, 16), _mm256_srai_epi32(a.high, 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(packed, 0xd8));
}
inline F32x16 load_i8(const std::byte* from) {
  const __m128i* bytes = reinterpret_cast<const __m128i*>(from);
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes))),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 8))))};
}

inline __m128i eight_f16(__m256 a) {
  const __m256 finite = _mm256_min_ps(_mm256_max_ps(a, _mm256_set1_ps(-65504.0f)), _mm256_set1_ps(65504.0f));
  return _mm256_cvtps_ph(finite, _MM_FROUND_TO_NEAREST_INT);
}
inline F32x16 load_bf16(const std::byte* from) {
  const __m128i* halves = reinterpret_cast<const __m128i*>(from);
  const auto widen = [](const __m128i* half) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(half)), 16));
  };
  return {widen(halves), widen(halves + 1)};
}
inline void store_f16(std::byte* to, const F32x16& a) {
  __m128i* halves = reinterpret_cast<__m128i*>(to);
  _mm_storeu_si128(halves, eight_f16(a.low));
  _mm_storeu_si128(halves + 1, eight_f16(a.high));
}
inline F32x16 load_f16(const std::byte* from) {
  const __m128i* halves = reinterpret_cast<const __m128i*>(from);
  return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}

struct Quad {
  __m256i v;
};
inline Quad load_quad(const int8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, sizeof four);
  return {_mm256_set1_epi32(four)};
}

struct I16x32 {
  __m256i low, high;
};
struct I16Pair {
  __m256i v;
};
inline I16x32 load_i8_pairs(const std::byte* from) {
  const __m128i* bytes = reinterpret_cast<const __m128i*>(from);
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(bytes)), _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes + 1))};
}
inline I16Pair load_pair(const int16_t* from) {
  int32_t two;
  __builtin_memcpy(&two, from, sizeof two);
  return {_mm256_set1_epi32(two)};
}

inline Bytes64 load_bytes(const std::byte* from) {
  const __m256i* vectors = reinterpret_cast<const __m256i*>(from);
  return {_mm256_loadu_si256(vectors), _mm256_loadu_si256(vectors + 1)};
}
inline Bytes64 low_nibbles(const Bytes64& a) {
  const __m256i nibble = _mm256_set1_epi8(15);
  return {_mm256_and_si256(a.low, nibble), _mm256_and_si256(a.high, nibble)};
}
inline Bytes64 high_nibbles(const Bytes64& a) {
  return low_nibbles({_mm256_srli_epi16(a.low, 4), _mm256_srli_epi16(a.high, 4)});
}
inline Bytes64 add_fifth_bit(const Bytes64& low, const Bytes64& bits, int bit) {
  const __m256i mask = _mm256_set1_epi8(static_cast<char>(1 << bit)), sixteen = _mm256_set1_epi8(16);
  const auto fifth = [&](__m256i b) {
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(b, mask), mask), sixteen);
  };
  return {_mm256_or_si256(low.low, fifth(bits.low)), _mm256_or_si256(low.high, fifth(bits.high))};
}

inline I32x16 as_words(const Bytes64& a) { return {a.low, a.high}; }
inline void store(std::byte* to, const I32x16& a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a.low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to) + 1, a.high);
}
inline void transpose_quads(__m256i& a, __m256i& b, __m256i& c, __m256i& d) {
  const __m256i low_ab = _mm256_unpacklo_epi32(a, b), high_ab = _mm256_unpackhi_epi32(a, b);
  const __m256i low_cd = _mm256_unpacklo_epi32(c, d), high_cd = _mm256_unpackhi_epi32(c, d);
  a = _mm256_unpacklo_epi64(low_ab, low_cd);
  b = _mm256_unpackhi_epi64(low_ab, low_cd);
  c = _mm256_unpacklo_epi64(high_ab, high_cd);
  d = _mm256_unpackhi_epi64(high_ab, high_cd);
}
inline void transpose_quads(I32x16 (&a)[4]) {
  transpose_quads(a[0].low, a[1].low, a[2].low, a[3].low);
  transpose_quads(a[0].high, a[1].high, a[2].high, a[3].high);
}
inline void transpose_quarters(I32x16 (&a)[4]) {
  const I32x16 from[4] = {a[0], a[1], a[2], a[3]};
  a[0] = {_mm256_permute2x128_si256(from[0].low, from[1].low, 0x20),
          _mm256_permute2x128_si256(from[2].low, from[3].low, 0x20)};
  a[1] = {_mm256_permute2x128_si256(from[0].low, from[1].low, 0x31),
          _mm256_permute2x128_si256(from[2].low, from[3].low, 0x31)};
  a[2] = {_mm256_permute2x128_si256(from[0].high, from[1].high, 0x20),
          _mm256_permute2x128_si256(from[2].high, from[3].high, 0x20)};
  a[3] = {_mm256_permute2x128_si256(from[0].high, from[1].high, 0x31),
          _mm256_permute2x128_si256(from[2].high, from[3].high, 0x31)};
}
inline Bytes64 join_low_nibbles(const Bytes64& high, const Bytes64& low) {
  const Bytes64 a = low_nibbles(high), b = low_nibbles(low);
  return {_mm256_or_si256(_mm256_slli_epi16(a.low, 4), b.low), _mm256_or_si256(_mm256_slli_epi16(a.high, 4), b.high)};
}
inline Bytes64 join_high_nibbles(const Bytes64& high, const Bytes64& low) {
  const __m256i top = _mm256_set1_epi8(-16);
  const Bytes64 b = high_nibbles(low);
  return {_mm256_or_si256(_mm256_and_si256(high.low, top), b.low),
          _mm256_or_si256(_mm256_and_si256(high.high, top), b.high)};
}
inline Bytes64 flip_top_bits(const Bytes64& a) {
  const __m256i top = _mm256_set1_epi8(-128);
  return {_mm256_xor_si256(a.low, top), _mm256_xor_si256(a.high, top)};
}

// 16 registers: 12 sums of half a vector each for the float types. The float sums of a quantised tile are needed once
// per block only and may leave the registers meanwhile.
struct Tiles {
  static constexpr int kFloatGroups = 1, kFloatRows = 6, kFloatMatvecGroups = 4;
  static constexpr int kQuantizedGroups = 1, kQuantizedRows = 4;
  static constexpr int kScoreRows = 6, kScoreTiles = 1;
  static constexpr int kValueRows = 6, kValueVectors = 1;
  static constexpr int kPairOperands = 4, kPairVectors = 1;
  static constexpr int kLatentRows = 2, kLatentKeys = 2;
};

}  // namespace
}  // namespace t5g::kernels
