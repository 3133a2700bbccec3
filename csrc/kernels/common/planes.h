// The kernels of matrices that are split into planes of 4 bits (see kernels/planes.h).
#pragma once

#include "kernels/common/formats.h"
#include "kernels/common/unroll.h"
#include "kernels/kernels.h"

namespace t5g::kernels {
namespace {

constexpr int kPlaneRowBytes = 64;  // of one strip
constexpr int kPlaneScalesBytes = 4 * kHalvesBytes;
constexpr int kCoarseStripBytes = kPlaneScalesBytes + kGroupRows * kPlaneRowBytes;
constexpr int kFineStripBytes = kGroupRows * kPlaneRowBytes;

// The processor's own prefetching keeps fewer reads in flight than the arithmetic here leaves time for.
constexpr int kPrefetchAhead = 4 * kCoarseStripBytes;

struct StripInput {
  Bytes64 low, high;  // the activations that low and high nibbles meet
};
inline StripInput load_strip(const int8_t* values) {
  const auto* bytes = reinterpret_cast<const std::byte*>(values);
  return {load_bytes(bytes), load_bytes(bytes + 64)};
}
inline I32x16 dot_nibbles(const std::byte* nibbles, const StripInput& x) {
  const Bytes64 both = load_bytes(nibbles);
  return dot_bytes(dot_bytes(splat(0), low_nibbles(both), x.low), high_nibbles(both), x.high);
}

// Upper bounds of 16 outputs. Every rounding, here and in the exact score, is within `slack` of the norms: a term of
// either is at most 128 sqrt(32) d |x|, and k / 32 + 4 roundings of 2^-24 on two such sums are less than
// (k / 32 + 4) 2^-13 d |x|.
F32x16 upper_bounds(const std::byte* strip, const uint8_t* norms, int64_t k, const PlaneInput& x) {
  const float slack = static_cast<float>(k / kBlock + 4) * 0x1p-13f;
  F32x16 score = splat(0.0f), error = splat(1e-30f);  // what underflow can do
  for (int64_t b = 0; b < k / kBlock; b += 4, strip += kCoarseStripBytes) {
    T5G_UNROLL
    for (int line = 0; line < kCoarseStripBytes; line += 64) __builtin_prefetch(strip + kPrefetchAhead + line);
    const StripInput input = load_strip(x.values + b * kBlock);
    const std::byte* rows = strip + kPlaneScalesBytes;
    I32x16 dots[4];
    T5G_UNROLL
    for (int q = 0; q < 4; ++q, rows += 4 * kPlaneRowBytes) {
      dots[q] = add_quads(dot_nibbles(rows, input), dot_nibbles(rows + kPlaneRowBytes, input),
                          dot_nibbles(rows + 2 * kPlaneRowBytes, input), dot_nibbles(rows + 3 * kPlaneRowBytes, input));
    }
    transpose_quarters(dots);
    T5G_UNROLL
    for (int j = 0; j < 4; ++j) {
      const F32x16 scales = load_f16(strip + j * kHalvesBytes);
      // Twice the dot product with 16 h + 7.5 - 128.
      const I32x16 twice = shift_left<5>(dots[j]) - splat(241 * x.sums[b + j]);
      score = fma(to_float(twice), scales * splat(0.5f * x.scales[b + j]), score);
      const float norm = static_cast<float>(norms[b + j]) * kPlaneNormUnit + slack;
      error = fma(abs(scales), splat(norm * x.norms[b + j]), error);
    }
  }
  return score + error;
}

void bound_groups(const BoundArgs& args) {
  const Planes& w = args.weight;
  const int64_t n_strips = w.k / 128;
  for (int64_t group = args.group_begin; group < args.group_end; ++group) {
    for (int i = 0; i < args.m; ++i) {
      const F32x16 upper =
          upper_bounds(w.coarse + group * n_strips * kCoarseStripBytes, w.norms + group * n_strips * 4, w.k, args.x[i]);
      store(args.bounds[i] + group * kGroupRows, upper);
      args.group_bounds[i][group] = max_lane(upper);
    }
  }
}

// The same operations in the same order as in the Q8_0 matrix product, and so the same bits.
void score_rows(const Planes& w, const PlaneInput& x, const int32_t* rows, int n_rows, float* scores) {
  const int64_t n_strips = w.k / 128;
  const std::byte *coarse[kGroupRows], *fine[kGroupRows];
  int lane[kGroupRows];
  for (int i = 0; i < kGroupRows; ++i) {
    const int64_t row = rows[i < n_rows ? i : 0], group = row / kGroupRows;
    lane[i] = static_cast<int>(row % kGroupRows);
    coarse[i] = w.coarse + group * n_strips * kCoarseStripBytes;
    fine[i] = w.fine + group * n_strips * kFineStripBytes + lane[i] * kPlaneRowBytes;
  }
  F32x16 sum = splat(0.0f);
  for (int64_t b = 0; b < w.k / kBlock; b += 4) {
    const StripInput input = load_strip(x.values + b * kBlock);
    uint16_t halves[4][kGroupRows];
    I32x16 dots[4], parts[4];
    for (int i = 0; i < kGroupRows; ++i) {
      const std::byte* high = coarse[i] + kPlaneScalesBytes + lane[i] * kPlaneRowBytes;
      parts[i % 4] = shift_left<4>(dot_nibbles(high, input)) + dot_nibbles(fine[i], input);
      if (i % 4 == 3) dots[i / 4] = add_quads(parts[0], parts[1], parts[2], parts[3]);
      for (int j = 0; j < 4; ++j)
        __builtin_memcpy(&halves[j][i], coarse[i] + j * kHalvesBytes + lane[i] * 2, sizeof(uint16_t));
      coarse[i] += kCoarseStripBytes;
      fine[i] += kFineStripBytes;
    }
    transpose_quarters(dots);
    for (int j = 0; j < 4; ++j) {
      const F32x16 scales = load_f16(reinterpret_cast<const std::byte*>(halves[j]));
      const I32x16 dot = dots[j] - shift_left<7>(splat(x.sums[b + j]));
      sum = fma(to_float(dot), scales * splat(x.scales[b + j]), sum);
    }
  }
  store_first(scores, sum, n_rows);
}

// Vectors g of four packed blocks, from one half of the nibbles of 16 rows.
template <bool kHigh>
void join_half(const std::byte* high, const std::byte* low, std::byte* block) {
  I32x16 words[4][4];  // [four values][four rows]
  T5G_UNROLL
  for (int q = 0; q < 4; ++q) {
    I32x16 rows[4];
    T5G_UNROLL
    for (int r = 0; r < 4; ++r) {
      const int at = (4 * q + r) * kPlaneRowBytes;
      const Bytes64 h = load_bytes(high + at), l = load_bytes(low + at);
      rows[r] = as_words(flip_top_bits(kHigh ? join_high_nibbles(h, l) : join_low_nibbles(h, l)));
    }
    transpose_quads(rows);
    T5G_UNROLL
    for (int g = 0; g < 4; ++g) words[g][q] = rows[g];
  }
  T5G_UNROLL
  for (int g = 0; g < 4; ++g) {
    transpose_quarters(words[g]);
    T5G_UNROLL
    for (int j = 0; j < 4; ++j)
      store(block + j * PackedQ8_0::kBlockBytes + kHalvesBytes + ((kHigh ? 4 : 0) + g) * kVectorBytes, words[g][j]);
  }
}

void join_planes(const Planes& w, int64_t group, std::byte* packed) {
  const int64_t n_strips = w.k / 128;
  const std::byte* coarse = w.coarse + group * n_strips * kCoarseStripBytes;
  const std::byte* fine = w.fine + group * n_strips * kFineStripBytes;
  for (int64_t strip = 0; strip < n_strips; ++strip) {
    for (int line = 0; line < kCoarseStripBytes; line += 64) __builtin_prefetch(coarse + kPrefetchAhead + line, 0, 2);
    for (int line = 0; line < kFineStripBytes; line += 64) __builtin_prefetch(fine + kPrefetchAhead + line, 0, 2);
    for (int j = 0; j < 4; ++j)
      __builtin_memcpy(packed + j * PackedQ8_0::kBlockBytes, coarse + j * kHalvesBytes, kHalvesBytes);
    join_half<false>(coarse + kPlaneScalesBytes, fine, packed);
    join_half<true>(coarse + kPlaneScalesBytes, fine, packed);
    coarse += kCoarseStripBytes;
    fine += kFineStripBytes;
    packed += 4 * PackedQ8_0::kBlockBytes;
  }
}

}  // namespace
}  // namespace t5g::kernels
