// Sixteen lanes in one 512-bit register. What each function means is said in generic/vectors.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace t5g::kernels {
namespace {

struct F32x16 {
  __m512 v;
};
struct I32x16 {
  __m512i v;
};
struct Mask16 {
  __mmask16 v;
};
struct Bytes64 {
  __m512i v;
};

inline __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline F32x16 load(const float* from) { return {_mm512_loadu_ps(from)}; }
inline F32x16 load_first(const float* from, int n) { return {_mm512_maskz_loadu_ps(first_lanes(n), from)}; }
inline void store(float* to, F32x16 a) { _mm512_storeu_ps(to, a.v); }
inline void store_first(float* to, F32x16 a, int n) { _mm512_mask_storeu_ps(to, first_lanes(n), a.v); }
inline F32x16 splat(float value) { return {_mm512_set1_ps(value)}; }

inline F32x16 operator+(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32x16 operator-(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32x16 operator*(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32x16 operator/(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32x16 abs(F32x16 a) { return {_mm512_abs_ps(a.v)}; }
inline F32x16 copy_sign(F32x16 a, F32x16 b) {
  const __m512 sign = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(sign, a.v), _mm512_and_ps(sign, b.v))};
}

inline Mask16 less(F32x16 a, F32x16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline bool any(Mask16 mask) { return mask.v != 0; }
inline Mask16 lanes_between(int begin, int end) {
  const int first = begin < 0 ? 0 : begin < 16 ? begin : 16, last = end < 0 ? 0 : end < 16 ? end : 16;
  return {static_cast<__mmask16>(first_lanes(last) & ~first_lanes(first))};
}
inline F32x16 select(Mask16 mask, F32x16 a, F32x16 b) { return {_mm512_mask_blend_ps(mask.v, b.v, a.v)}; }

inline float sum_lanes(F32x16 a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float max_lane(F32x16 a) { return _mm512_reduce_max_ps(a.v); }

inline I32x16 splat(int32_t value) { return {_mm512_set1_epi32(value)}; }
inline I32x16 operator+(I32x16 a, I32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline I32x16 operator-(I32x16 a, I32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline I32x16 operator&(I32x16 a, I32x16 b) { return {_mm512_and_si512(a.v, b.v)}; }
template <int kBits>
inline I32x16 shift_left(I32x16 a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline I32x16 shift_right(I32x16 a) {
  return {_mm512_srli_epi32(a.v, kBits)};
}
inline int32_t sum_lanes(I32x16 a) { return _mm512_reduce_add_epi32(a.v); }
inline F32x16 to_float(I32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline I32x16 as_bits(F32x16 a) { return {_mm512_castps_si512(a.v)}; }
inline F32x16 as_float(I32x16 a) { return {_mm512_castsi512_ps(a.v)}; }
inline I32x16 load_bits(const std::byte* from) { return {_mm512_loadu_si512(from)}; }
inline void store_low_bytes(int8_t* to, I32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(a.v));
}
inline void store_high_halves(std::byte* to, I32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(a.v, 16)));
}
inline F32x16 load_i8(const std::byte* from) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))))};
}

inline F32x16 load_f16(const std::byte* from) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
}
inline F32x16 load_bf16(const std::byte* from) {
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(words, 16))};
}
inline void store_f16(std::byte* to, F32x16 a) {
  const __m512 largest = _mm512_set1_ps(65504.0f), smallest = _mm512_set1_ps(-65504.0f);
  const __m512 finite = _mm512_min_ps(_mm512_max_ps(a.v, smallest), largest);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(finite, _MM_FROUND_TO_NEAREST_INT));
}

struct Quad {
  __m512i v;
};
inline Quad load_quad(const int8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, sizeof four);
  return {_mm512_set1_epi32(four)};
}

struct I16x32 {
  __m512i v;
};
struct I16Pair {
  __m512i v;
};
inline I16x32 load_i8_pairs(const std::byte* from) {
  return {_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
}
inline I16Pair load_pair(const int16_t* from) {
  int32_t two;
  __builtin_memcpy(&two, from, sizeof two);
  return {_mm512_set1_epi32(two)};
}

inline Bytes64 load_bytes(const std::byte* from) { return {_mm512_loadu_si512(from)}; }
inline Bytes64 low_nibbles(Bytes64 a) { return {_mm512_and_si512(a.v, _mm512_set1_epi8(15))}; }
inline Bytes64 high_nibbles(Bytes64 a) { return {_mm512_and_si512(_mm512_srli_epi16(a.v, 4), _mm512_set1_epi8(15))}; }
inline Bytes64 add_fifth_bit(Bytes64 low, Bytes64 bits, int bit) {
  const __mmask64 set = _mm512_test_epi8_mask(bits.v, _mm512_set1_epi8(static_cast<char>(1 << bit)));
  return {_mm512_mask_add_epi8(low.v, set, low.v, _mm512_set1_epi8(16))};
}

inline I32x16 as_words(Bytes64 a) { return {a.v}; }
inline void store(std::byte* to, I32x16 a) { _mm512_storeu_si512(to, a.v); }
inline void transpose_quads(I32x16 (&a)[4]) {
  const __m512i low01 = _mm512_unpacklo_epi32(a[0].v, a[1].v), high01 = _mm512_unpackhi_epi32(a[0].v, a[1].v);
  const __m512i low23 = _mm512_unpacklo_epi32(a[2].v, a[3].v), high23 = _mm512_unpackhi_epi32(a[2].v, a[3].v);
  a[0].v = _mm512_unpacklo_epi64(low01, low23);
  a[1].v = _mm512_unpackhi_epi64(low01, low23);
  a[2].v = _mm512_unpacklo_epi64(high01, high23);
  a[3].v = _mm512_unpackhi_epi64(high01, high23);
}
inline void transpose_quarters(I32x16 (&a)[4]) {
  const __m512i even01 = _mm512_shuffle_i32x4(a[0].v, a[1].v, 0x88), odd01 = _mm512_shuffle_i32x4(a[0].v, a[1].v, 0xdd);
  const __m512i even23 = _mm512_shuffle_i32x4(a[2].v, a[3].v, 0x88), odd23 = _mm512_shuffle_i32x4(a[2].v, a[3].v, 0xdd);
  a[0].v = _mm512_shuffle_i32x4(even01, even23, 0x88);
  a[1].v = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
  a[2].v = _mm512_shuffle_i32x4(even01, even23, 0xdd);
  a[3].v = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
}
inline Bytes64 join_low_nibbles(Bytes64 high, Bytes64 low) {
  const __m512i shifted = _mm512_slli_epi16(high.v, 4);
  // Where the mask has a bit: that of `low`; elsewhere that of `shifted`.
  return {_mm512_ternarylogic_epi32(_mm512_set1_epi8(15), low.v, shifted, 0xca)};
}
inline Bytes64 join_high_nibbles(Bytes64 high, Bytes64 low) {
  const __m512i shifted = _mm512_srli_epi16(low.v, 4);
  return {_mm512_ternarylogic_epi32(_mm512_set1_epi8(15), shifted, high.v, 0xca)};
}
inline Bytes64 flip_top_bits(Bytes64 a) { return {_mm512_xor_si512(a.v, _mm512_set1_epi8(-128))}; }

// 32 registers: 24 sums, the rest for operands; of pairs 16, as lines are unpacked. Of the quantised types' 24,
// integer ones included, some are spilled, and 20 are 2 to 6 % faster. With a single row, several groups keep as many
// streams of weights going.
struct Tiles {
  static constexpr int kFloatGroups = 2, kFloatRows = 12, kFloatMatvecGroups = 4;
  static constexpr int kQuantizedGroups = 2, kQuantizedRows = 5;
  static constexpr int kScoreRows = 8, kScoreTiles = 2;
  static constexpr int kValueRows = 8, kValueVectors = 2;
  static constexpr int kPairOperands = 8, kPairVectors = 2;
  static constexpr int kLatentRows = 4, kLatentKeys = 4;
};

}  // namespace
}  // namespace t5g::kernels
