// Tiles of 8 rows of activations with SMMLA, which multiplies 2 x 8 by 8 x 2 signed bytes: each of its four sums is of
// one row of activations (of two) and one row of weights (of two).
//
// A register of sums therefore holds {x0 w0, x0 w1, x1 w0, x1 w1}, from the first block to the last. Half a group at a
// time: 8 rows of weights with 8 of activations are 16 registers of dot products, and their float sums, needed once per
// block, wait in memory.
//
// Counted in the code of gcc 12, not timed: a block of 16 x 4 outputs takes 499 instructions with SDOT in Q8_0, 553 in
// Q4_0 and 798 in Q5_0 (unpacking included); as many outputs here 282 in all three, and 17 to 57 per tile for a block's
// arrangement when 16 rows share it. In LLVM's models of Neoverse N2, V1 and V2 (which follow Arm's optimisation
// guides) SMMLA has the throughput of SDOT at twice the work. llvm-mca 19 puts a block at 115 cycles instead of 157,
// 216 and 300 on N2 and N3, and at 55 to 58 instead of 86, 105 and 147 on V1 and V2.
#pragma once

#include "kernels/cpu/common/panels.h"

namespace t5g::kernels {
namespace {

class Smmla {
 public:
  static constexpr int kRows = 8;

  explicit Smmla(const MatmulArgs&) {}

  // [half of the group][8 values][pair of rows][2][8]: two rows of weights side by side, as SMMLA takes them.
  template <typename Format>
  static void arrange(const std::byte* block, std::byte* out) {
    T5G_UNROLL
    for (int s = 0; s < Format::kSteps; s += 2) {
      const typename Format::Step even = Format::load(block, s), odd = Format::load(block, s + 1);
      T5G_UNROLL
      for (int q = 0; q < Format::kQuads; ++q) {
        T5G_UNROLL
        for (int four = 0; four < 4; ++four) {
          const int at = ((four / 2 * 4 + s / 2 + 2 * q) * kWeightPairs + four % 2 * 2) * 16;
          put_pairs<Format::kOffsetLog2>(even.quad[q].q[four], odd.quad[q].q[four], out + at);
        }
      }
    }
  }

  // The same for all types with or without minima: one copy of it.
  template <bool kHasMinima>
  [[gnu::noinline]] static void multiply(const MatmulArgs& args, const Chunk& chunk, int64_t row, int n_rows,
                                         float* sums) {
    switch ((n_rows + 1) / 2) {
      case 1:
        return multiply_pairs<kHasMinima, 1>(args, chunk, row, n_rows, sums);
      case 2:
        return multiply_pairs<kHasMinima, 2>(args, chunk, row, n_rows, sums);
      case 3:
        return multiply_pairs<kHasMinima, 3>(args, chunk, row, n_rows, sums);
      default:
        return multiply_pairs<kHasMinima, 4>(args, chunk, row, n_rows, sums);
    }
  }

  static F32x16 read(const float* tile, int row) {
    const float* pairs = tile + row / 2 * kWeightPairs * 4 + row % 2 * 2;
    F32x16 result;
    T5G_UNROLL
    for (int four = 0; four < 4; ++four) {
      const float* from = pairs + four / 2 * kHalfFloats + four % 2 * 8;
      result.q[four] = vcombine_f32(vld1_f32(from), vld1_f32(from + 4));
    }
    return result;
  }

 private:
  static constexpr int kWeightPairs = 4;                      // of half a group
  static constexpr int kHalfFloats = kRows * kGroupRows / 2;  // of a tile's sums: [pairs of rows][pairs of weights][4]

  // Four rows' values 8p .. 8p + 3 and 8p + 4 .. 8p + 7 become two pairs of rows.
  template <int kOffsetLog2>
  static void put_pairs(uint8x16_t even, uint8x16_t odd, std::byte* out) {
    if constexpr (kOffsetLog2 >= 0) {
      const uint8x16_t offset = vdupq_n_u8(static_cast<uint8_t>(1 << kOffsetLog2));
      even = vsubq_u8(even, offset);
      odd = vsubq_u8(odd, offset);
    }
    const uint32x4_t a = vreinterpretq_u32_u8(even), b = vreinterpretq_u32_u8(odd);
    vst1q_u32(reinterpret_cast<uint32_t*>(out), vzip1q_u32(a, b));
    vst1q_u32(reinterpret_cast<uint32_t*>(out + 16), vzip2q_u32(a, b));
  }

  // A number of each of the two rows, twice.
  static float32x4_t of_pair(float first, float second) {
    return vreinterpretq_f32_f64(
        vzip1q_f64(vreinterpretq_f64_f32(vdupq_n_f32(first)), vreinterpretq_f64_f32(vdupq_n_f32(second))));
  }

  // Numbers of 8 rows of weights, as they meet the sums: {w0, w1, w0, w1}, ...
  struct OfWeights {
    float32x4_t of[kWeightPairs];
  };
  static OfWeights of_weights(const std::byte* halves) {
    const float64x2_t low = vreinterpretq_f64_f32(vcvt_f32_f16(vreinterpret_f16_u16(load_halves(halves))));
    const float64x2_t high = vreinterpretq_f64_f32(vcvt_f32_f16(vreinterpret_f16_u16(load_halves(halves + 8))));
    return {{vreinterpretq_f32_f64(vdupq_laneq_f64(low, 0)), vreinterpretq_f32_f64(vdupq_laneq_f64(low, 1)),
             vreinterpretq_f32_f64(vdupq_laneq_f64(high, 0)), vreinterpretq_f32_f64(vdupq_laneq_f64(high, 1))}};
  }

  template <int kPairs>
  static void dot_half(const std::byte* weights, const int8_t* const* x, int64_t at,
                       int32x4_t (&dots)[kPairs][kWeightPairs]) {
    T5G_UNROLL
    for (int sixteen = 0; sixteen < 2; ++sixteen, at += 16) {
      int8x16_t w[2][kWeightPairs];
      T5G_UNROLL
      for (int i = 0; i < 2 * kWeightPairs; ++i, weights += 16)
        w[i / kWeightPairs][i % kWeightPairs] = vld1q_s8(reinterpret_cast<const int8_t*>(weights));
      T5G_UNROLL
      for (int p = 0; p < kPairs; ++p) {
        const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(x[2 * p] + at));
        const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(x[2 * p + 1] + at));
        const int8x16_t both[2] = {vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))};
        T5G_UNROLL
        for (int i = 0; i < 2 * kWeightPairs; ++i) {
          int32x4_t& dot = dots[p][i % kWeightPairs];
          dot = vmmlaq_s32(dot, both[i / kWeightPairs], w[i / kWeightPairs][i % kWeightPairs]);
        }
      }
    }
  }

  template <bool kHasMinima, int kPairs>
  static void multiply_half(const MatmulArgs& args, const Chunk& chunk, int64_t row, int n_rows, int half,
                            float* sums) {
    const int64_t n_blocks = args.k / kBlock;
    const int8_t* x[2 * kPairs];
    int64_t scale_at[2 * kPairs];
    T5G_UNROLL
    for (int r = 0; r < 2 * kPairs; ++r) {
      const int64_t own = row + (r < n_rows ? r : n_rows - 1);  // an odd number of rows: the last one twice
      x[r] = args.x_q.values + own * args.k;
      scale_at[r] = own * n_blocks;
    }
    float32x4_t running[kPairs][kWeightPairs];
    T5G_UNROLL
    for (int i = 0; i < kPairs * kWeightPairs; ++i)
      running[i / kWeightPairs][i % kWeightPairs] = vld1q_f32(sums + 4 * i);
    const std::byte *weights = chunk.arranged + half * (kArrangedBytes / 2), *block = chunk.blocks + half * 16;
    for (int64_t b = chunk.first, end = b + chunk.n_blocks; b < end; ++b) {
      int32x4_t dots[kPairs][kWeightPairs] = {};
      dot_half<kPairs>(weights, x, b * kBlock, dots);
      const OfWeights scales = of_weights(block);
      T5G_UNROLL
      for (int p = 0; p < kPairs; ++p) {
        const int64_t at0 = scale_at[2 * p] + b, at1 = scale_at[2 * p + 1] + b;
        const float32x4_t x_scales = of_pair(args.x_q.scales[at0], args.x_q.scales[at1]);
        T5G_UNROLL
        for (int i = 0; i < kWeightPairs; ++i) {
          float32x4_t& sum = running[p][i];
          sum = vfmaq_f32(sum, vcvtq_f32_s32(dots[p][i]), vmulq_f32(scales.of[i], x_scales));
        }
        if constexpr (kHasMinima) {
          const OfWeights minima = of_weights(block + kHalvesBytes);
          const float32x4_t x_sums =
              of_pair(static_cast<float>(args.x_q.sums[at0]), static_cast<float>(args.x_q.sums[at1]));
          T5G_UNROLL
          for (int i = 0; i < kWeightPairs; ++i)
            running[p][i] = vfmaq_f32(running[p][i], minima.of[i], vmulq_f32(x_scales, x_sums));
        }
      }
      weights += kArrangedBytes;
      block += chunk.block_bytes;
    }
    T5G_UNROLL
    for (int i = 0; i < kPairs * kWeightPairs; ++i)
      vst1q_f32(sums + 4 * i, running[i / kWeightPairs][i % kWeightPairs]);
  }

  template <bool kHasMinima, int kPairs>
  static void multiply_pairs(const MatmulArgs& args, const Chunk& chunk, int64_t row, int n_rows, float* sums) {
    for (int half = 0; half < 2; ++half)
      multiply_half<kHasMinima, kPairs>(args, chunk, row, n_rows, half, sums + half * kHalfFloats);
  }
};

}  // namespace
}  // namespace t5g::kernels
