// Sixteen lanes in four 128-bit registers. What each function means is said in generic/vectors.h.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace t5g::kernels {
namespace {

struct F32x16 {
  float32x4_t q[4];
};
struct I32x16 {
  int32x4_t q[4];
};
struct Mask16 {
  uint32x4_t q[4];  // all ones or zero in each lane
};
struct Bytes64 {
  uint8x16_t q[4];
};

inline F32x16 load(const float* from) {
  return {{vld1q_f32(from), vld1q_f32(from + 4), vld1q_f32(from + 8), vld1q_f32(from + 12)}};
}
inline F32x16 load_first(const float* from, int n) {
  float lanes[16] = {};
  for (int i = 0; i < n; ++i) lanes[i] = from[i];
  return load(lanes);
}
inline void store(float* to, const F32x16& a) {
  for (int i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, a.q[i]);
}
inline void store_first(float* to, const F32x16& a, int n) {
  float lanes[16];
  store(lanes, a);
  for (int i = 0; i < n; ++i) to[i] = lanes[i];
}
inline F32x16 splat(float value) {
  const float32x4_t v = vdupq_n_f32(value);
  return {{v, v, v, v}};
}

inline F32x16 operator+(const F32x16& a, const F32x16& b) {
  return {{vaddq_f32(a.q[0], b.q[0]), vaddq_f32(a.q[1], b.q[1]), vaddq_f32(a.q[2], b.q[2]), vaddq_f32(a.q[3], b.q[3])}};
}
inline F32x16 operator-(const F32x16& a, const F32x16& b) {
  return {{vsubq_f32(a.q[0], b.q[0]), vsubq_f32(a.q[1], b.q[1]), vsubq_f32(a.q[2], b.q[2]), vsubq_f32(a.q[3], b.q[3])}};
}
inline F32x16 operator*(const F32x16& a, const F32x16& b) {
  return {{vmulq_f32(a.q[0], b.q[0]), vmulq_f32(a.q[1], b.q[1]), vmulq_f32(a.q[2], b.q[2]), vmulq_f32(a.q[3], b.q[3])}};
}
inline F32x16 operator/(const F32x16& a, const F32x16& b) {
  return {{vdivq_f32(a.q[0], b.q[0]), vdivq_f32(a.q[1], b.q[1]), vdivq_f32(a.q[2], b.q[2]), vdivq_f32(a.q[3], b.q[3])}};
}
inline F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  return {{vfmaq_f32(c.q[0], a.q[0], b.q[0]), vfmaq_f32(c.q[1], a.q[1], b.q[1]), vfmaq_f32(c.q[2], a.q[2], b.q[2]),
           vfmaq_f32(c.q[3], a.q[3], b.q[3])}};
}
// Not FMAX, which would let a NaN in `a` through.
inline float32x4_t max(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline F32x16 max(const F32x16& a, const F32x16& b) {
  return {{max(a.q[0], b.q[0]), max(a.q[1], b.q[1]), max(a.q[2], b.q[2]), max(a.q[3], b.q[3])}};
}
inline F32x16 abs(const F32x16& a) {
  return {{vabsq_f32(a.q[0]), vabsq_f32(a.q[1]), vabsq_f32(a.q[2]), vabsq_f32(a.q[3])}};
}
inline F32x16 copy_sign(const F32x16& a, const F32x16& b) {
  const uint32x4_t sign = vdupq_n_u32(0x80000000u);
  return {{vbslq_f32(sign, b.q[0], a.q[0]), vbslq_f32(sign, b.q[1], a.q[1]), vbslq_f32(sign, b.q[2], a.q[2]),
           vbslq_f32(sign, b.q[3], a.q[3])}};
}

inline Mask16 less(const F32x16& a, const F32x16& b) {
  return {{vcltq_f32(a.q[0], b.q[0]), vcltq_f32(a.q[1], b.q[1]), vcltq_f32(a.q[2], b.q[2]), vcltq_f32(a.q[3], b.q[3])}};
}
inline bool any(const Mask16& mask) {
  return vmaxvq_u32(vorrq_u32(vorrq_u32(mask.q[0], mask.q[1]), vorrq_u32(mask.q[2], mask.q[3]))) != 0;
}
// Lanes first, first + 1, ... of the sixteen.
inline uint32x4_t four_between(int begin, int end, int first) {
  const int32x4_t lane = vaddq_s32(
      vdupq_n_s32(first),
      vreinterpretq_s32_u64(vcombine_u64(vcreate_u64(0x0000000100000000u), vcreate_u64(0x0000000300000002u))));
  return vandq_u32(vcgeq_s32(lane, vdupq_n_s32(begin)), vcltq_s32(lane, vdupq_n_s32(end)));
}
inline Mask16 lanes_between(int begin, int end) {
  return {{four_between(begin, end, 0), four_between(begin, end, 4), four_between(begin, end, 8),
           four_between(begin, end, 12)}};
}
inline F32x16 select(const Mask16& mask, const F32x16& a, const F32x16& b) {
  return {{vbslq_f32(mask.q[0], a.q[0], b.q[0]), vbslq_f32(mask.q[1], a.q[1], b.q[1]),
           vbslq_f32(mask.q[2], a.q[2], b.q[2]), vbslq_f32(mask.q[3], a.q[3], b.q[3])}};
}

inline float sum_lanes(const F32x16& a) {
  const float32x4_t four = vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
inline float max_lane(const F32x16& a) { return vmaxvq_f32(max(max(a.q[0], a.q[1]), max(a.q[2], a.q[3]))); }

inline I32x16 splat(int32_t value) {
  const int32x4_t v = vdupq_n_s32(value);
  return {{v, v, v, v}};
}
inline I32x16 operator+(const I32x16& a, const I32x16& b) {
  return {{vaddq_s32(a.q[0], b.q[0]), vaddq_s32(a.q[1], b.q[1]), vaddq_s32(a.q[2], b.q[2]), vaddq_s32(a.q[3], b.q[3])}};
}
inline I32x16 operator-(const I32x16& a, const I32x16& b) {
  return {{vsubq_s32(a.q[0], b.q[0]), vsubq_s32(a.q[1], b.q[1]), vsubq_s32(a.q[2], b.q[2]), vsubq_s32(a.q[3], b.q[3])}};
}
inline I32x16 operator&(const I32x16& a, const I32x16& b) {
  return {{vandq_s32(a.q[0], b.q[0]), vandq_s32(a.q[1], b.q[1]), vandq_s32(a.q[2], b.q[2]), vandq_s32(a.q[3], b.q[3])}};
}
template <int kBits>
inline I32x16 shift_left(const I32x16& a) {
  return {
      {vshlq_n_s32(a.q[0], kBits), vshlq_n_s32(a.q[1], kBits), vshlq_n_s32(a.q[2], kBits), vshlq_n_s32(a.q[3], kBits)}};
}
template <int kBits>
inline int32x4_t shift_right(int32x4_t a) {
  return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), kBits));
}
template <int kBits>
inline I32x16 shift_right(const I32x16& a) {
  return {
      {shift_right<kBits>(a.q[0]), shift_right<kBits>(a.q[1]), shift_right<kBits>(a.q[2]), shift_right<kBits>(a.q[3])}};
}
inline int32_t sum_lanes(const I32x16& a) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(a.q[0], a.q[1]), vaddq_s32(a.q[2], a.q[3])));
}
inline F32x16 to_float(const I32x16& a) {
  return {{vcvtq_f32_s32(a.q[0]), vcvtq_f32_s32(a.q[1]), vcvtq_f32_s32(a.q[2]), vcvtq_f32_s32(a.q[3])}};
}
inline I32x16 as_bits(const F32x16& a) {
  return {{vreinterpretq_s32_f32(a.q[0]), vreinterpretq_s32_f32(a.q[1]), vreinterpretq_s32_f32(a.q[2]),
           vreinterpretq_s32_f32(a.q[3])}};
}
inline F32x16 as_float(const I32x16& a) {
  return {{vreinterpretq_f32_s32(a.q[0]), vreinterpretq_f32_s32(a.q[1]), vreinterpretq_f32_s32(a.q[2]),
           vreinterpretq_f32_s32(a.q[3])}};
}
inline void store_low_bytes(int8_t* to, const I32x16& a) {
  const int16x8_t low = vcombine_s16(vmovn_s32(a.q[0]), vmovn_s32(a.q[1]));
  const int16x8_t high = vcombine_s16(vmovn_s32(a.q[2]), vmovn_s32(a.q[3]));
  vst1q_s8(to, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

inline I32x16 load_bits(const std::byte* from) {
  const auto* lanes = reinterpret_cast<const int32_t*>(from);
  return {{vld1q_s32(lanes), vld1q_s32(lanes + 4), vld1q_s32(lanes + 8), vld1q_s32(lanes + 12)}};
}
inline void store_high_halves(std::byte* to, const I32x16& a) {
  auto* halves = reinterpret_cast<uint16_t*>(to);
  for (int i = 0; i < 4; ++i) vst1_u16(halves + 4 * i, vshrn_n_u32(vreinterpretq_u32_s32(a.q[i]), 16));
}
inline F32x16 load_i8(const std::byte* from) {
  const int8x16_t bytes = vld1q_s8(reinterpret_cast<const int8_t*>(from));
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
           vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
}
inline void store_f16(std::byte* to, const F32x16& a) {
  auto* halves = reinterpret_cast<uint16_t*>(to);
  for (int i = 0; i < 4; ++i) {
    const float32x4_t finite = vminq_f32(vmaxq_f32(a.q[i], vdupq_n_f32(-65504.0f)), vdupq_n_f32(65504.0f));
    vst1_u16(halves + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(finite)));
  }
}

inline uint16x4_t load_halves(const std::byte* from) { return vld1_u16(reinterpret_cast<const uint16_t*>(from)); }
inline F32x16 load_bf16(const std::byte* from) {
  F32x16 r;
  for (int i = 0; i < 4; ++i) r.q[i] = vreinterpretq_f32_u32(vshll_n_u16(load_halves(from + 8 * i), 16));
  return r;
}
inline F32x16 load_f16(const std::byte* from) {
  return {{vcvt_f32_f16(vreinterpret_f16_u16(load_halves(from))),
           vcvt_f32_f16(vreinterpret_f16_u16(load_halves(from + 8))),
           vcvt_f32_f16(vreinterpret_f16_u16(load_halves(from + 16))),
           vcvt_f32_f16(vreinterpret_f16_u16(load_halves(from + 24)))}};
}

struct Quad {
  int8x16_t v;
};
inline Quad load_quad(const int8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, sizeof four);
  return {vreinterpretq_s8_s32(vdupq_n_s32(four))};
}

struct I16x32 {
  int16x8_t first[2], second[2];  // of the pairs
};
struct I16Pair {
  int16x4_t v;
};
inline I16x32 load_i8_pairs(const std::byte* from) {
  const int8x16x2_t pairs = vld2q_s8(reinterpret_cast<const int8_t*>(from));
  return {{vmovl_s8(vget_low_s8(pairs.val[0])), vmovl_high_s8(pairs.val[0])},
          {vmovl_s8(vget_low_s8(pairs.val[1])), vmovl_high_s8(pairs.val[1])}};
}
inline I16Pair load_pair(const int16_t* from) {
  int32_t two;
  __builtin_memcpy(&two, from, sizeof two);
  return {vreinterpret_s16_s32(vdup_n_s32(two))};
}

inline int32x4_t dot_pairs(int32x4_t sum, int16x4_t first, int16x4_t second, const I16Pair& b) {
  return vmlal_lane_s16(vmlal_lane_s16(sum, first, b.v, 0), second, b.v, 1);
}
// No CPU has an instruction for it, so this one is not with the other dot products.
inline I32x16 dot_pairs(const I32x16& sum, const I16x32& a, const I16Pair& b) {
  return {{dot_pairs(sum.q[0], vget_low_s16(a.first[0]), vget_low_s16(a.second[0]), b),
           dot_pairs(sum.q[1], vget_high_s16(a.first[0]), vget_high_s16(a.second[0]), b),
           dot_pairs(sum.q[2], vget_low_s16(a.first[1]), vget_low_s16(a.second[1]), b),
           dot_pairs(sum.q[3], vget_high_s16(a.first[1]), vget_high_s16(a.second[1]), b)}};
}

inline Bytes64 load_bytes(const std::byte* from) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(from);
  return {{vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
}
inline Bytes64 low_nibbles(const Bytes64& a) {
  const uint8x16_t nibble = vdupq_n_u8(15);
  return {{vandq_u8(a.q[0], nibble), vandq_u8(a.q[1], nibble), vandq_u8(a.q[2], nibble), vandq_u8(a.q[3], nibble)}};
}
inline Bytes64 high_nibbles(const Bytes64& a) {
  return {{vshrq_n_u8(a.q[0], 4), vshrq_n_u8(a.q[1], 4), vshrq_n_u8(a.q[2], 4), vshrq_n_u8(a.q[3], 4)}};
}
inline Bytes64 add_fifth_bit(const Bytes64& low, const Bytes64& bits, int bit) {
  const uint8x16_t mask = vdupq_n_u8(static_cast<uint8_t>(1 << bit)), sixteen = vdupq_n_u8(16);
  return {{vorrq_u8(low.q[0], vandq_u8(vtstq_u8(bits.q[0], mask), sixteen)),
           vorrq_u8(low.q[1], vandq_u8(vtstq_u8(bits.q[1], mask), sixteen)),
           vorrq_u8(low.q[2], vandq_u8(vtstq_u8(bits.q[2], mask), sixteen)),
           vorrq_u8(low.q[3], vandq_u8(vtstq_u8(bits.q[3], mask), sixteen))}};
}

inline I32x16 as_words(const Bytes64& a) {
  return {{vreinterpretq_s32_u8(a.q[0]), vreinterpretq_s32_u8(a.q[1]), vreinterpretq_s32_u8(a.q[2]),
           vreinterpretq_s32_u8(a.q[3])}};
}
inline void store(std::byte* to, const I32x16& a) {
  for (int i = 0; i < 4; ++i) vst1q_s32(reinterpret_cast<int32_t*>(to) + 4 * i, a.q[i]);
}
inline void transpose_quads(I32x16 (&a)[4]) {
  for (int i = 0; i < 4; ++i) {
    const int32x4x2_t ab = vtrnq_s32(a[0].q[i], a[1].q[i]), cd = vtrnq_s32(a[2].q[i], a[3].q[i]);
    a[0].q[i] = vcombine_s32(vget_low_s32(ab.val[0]), vget_low_s32(cd.val[0]));
    a[1].q[i] = vcombine_s32(vget_low_s32(ab.val[1]), vget_low_s32(cd.val[1]));
    a[2].q[i] = vcombine_s32(vget_high_s32(ab.val[0]), vget_high_s32(cd.val[0]));
    a[3].q[i] = vcombine_s32(vget_high_s32(ab.val[1]), vget_high_s32(cd.val[1]));
  }
}
inline void transpose_quarters(I32x16 (&a)[4]) {
  const I32x16 from[4] = {a[0], a[1], a[2], a[3]};
  for (int i = 0; i < 4; ++i) a[i] = {{from[0].q[i], from[1].q[i], from[2].q[i], from[3].q[i]}};
}
inline Bytes64 join_low_nibbles(const Bytes64& high, const Bytes64& low) {
  return {{vsliq_n_u8(low.q[0], high.q[0], 4), vsliq_n_u8(low.q[1], high.q[1], 4), vsliq_n_u8(low.q[2], high.q[2], 4),
           vsliq_n_u8(low.q[3], high.q[3], 4)}};
}
inline Bytes64 join_high_nibbles(const Bytes64& high, const Bytes64& low) {
  return {{vsriq_n_u8(high.q[0], low.q[0], 4), vsriq_n_u8(high.q[1], low.q[1], 4), vsriq_n_u8(high.q[2], low.q[2], 4),
           vsriq_n_u8(high.q[3], low.q[3], 4)}};
}
inline Bytes64 flip_top_bits(const Bytes64& a) {
  const uint8x16_t top = vdupq_n_u8(128);
  return {{veorq_u8(a.q[0], top), veorq_u8(a.q[1], top), veorq_u8(a.q[2], top), veorq_u8(a.q[3], top)}};
}

// 32 registers: 24 sums of a quarter each for the float types. The float sums of a quantised tile are needed once per
// block only and may leave the registers meanwhile.
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
