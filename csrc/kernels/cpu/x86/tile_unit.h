// Tiles of 16 rows of activations by 16 rows of weights with a tile unit (tiles_amx.h, or the tests' emulation of it).
//
// A packed block is what TDPBSSD takes for its second matrix: 8 rows of four values of each of 16 columns. Activations
// are loaded as they lie. The dot products of a block go through memory to the vectors, which add them to the sums
// while the unit is busy with the next block.
#pragma once

#include "kernels/cpu/common/panels.h"

namespace t5g::kernels {
namespace {

// What LDTILECFG reads.
struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

template <typename Tiles>
class TileUnit {
 public:
  static constexpr int kRows = 16;

  explicit TileUnit(const MatmulArgs& args) {
    TileConfig config = {};
    config.palette = 1;
    const auto shape = [&config](int tile, int64_t rows, int row_bytes) {
      if (rows == 0) return;  // a tile that is not used must have no bytes per row either
      config.rows[tile] = static_cast<uint8_t>(rows);
      config.row_bytes[tile] = static_cast<uint16_t>(row_bytes);
    };
    for (int odd = 0; odd < 2; ++odd) {
      shape(kWeights + odd, kBlock / 4, kVectorBytes);
      shape(kDots<false> + odd, kRows, kVectorBytes);
      shape(kDots<true> + odd, args.m % kRows, kVectorBytes);
    }
    shape(kInput<false>, kRows, kBlock);
    shape(kInput<true>, args.m % kRows, kBlock);
    Tiles::configure(config);
  }
  ~TileUnit() { Tiles::release(); }
  TileUnit(const TileUnit&) = delete;
  TileUnit& operator=(const TileUnit&) = delete;

  // As packed, [four values][16 rows][4].
  template <typename Format>
  static void arrange(const std::byte* block, std::byte* out) {
    put(Format{}, block, out);
  }

  template <bool kHasMinima>
  static void multiply(const MatmulArgs& args, const Chunk& chunk, int64_t row, int n_rows, float* sums) {
    if (n_rows == kRows) {
      multiply_rows<kHasMinima, false>(args, chunk, row, n_rows, sums);
    } else {
      multiply_rows<kHasMinima, true>(args, chunk, row, n_rows, sums);
    }
  }

  static F32x16 read(const float* tile, int row) { return load(tile + row * kGroupRows); }

 private:
  // Tiles, by number; blocks take turns at two of a kind. The last rows, fewer than kRows, have tiles of their own.
  static constexpr int kWeights = 0;
  template <bool kLast>
  static constexpr int kInput = kLast ? 3 : 2;
  template <bool kLast>
  static constexpr int kDots = kLast ? 6 : 4;

  static void put(PackedQ8_0, const std::byte* block, std::byte* out) {
    T5G_UNROLL
    for (int i = 0; i < kArrangedBytes; i += kVectorBytes)
      store(out + i, as_words(load_bytes(block + kHalvesBytes + i)));
  }
  template <typename Format>
  static void put(Format, const std::byte* block, std::byte* out) {
    T5G_UNROLL
    for (int s = 0; s < Format::kSteps; ++s) {
      const typename Format::Step step = Format::load(block, s);
      T5G_UNROLL
      for (int q = 0; q < Format::kQuads; ++q) store(out + (s + 4 * q) * kVectorBytes, as_words(step.quad[q]));
    }
    if constexpr (Format::kOffsetLog2 >= 0) {
      auto* bytes = reinterpret_cast<uint8_t*>(out);
      for (int i = 0; i < kArrangedBytes; ++i) bytes[i] = static_cast<uint8_t>(bytes[i] - (1 << Format::kOffsetLog2));
    }
  }

  // The products of one block -> dots [rows][16].
  template <bool kLast, int kOdd>
  static void dot(const std::byte* weights, const int8_t* x, int64_t k, int32_t* dots) {
    Tiles::template load<kWeights + kOdd>(weights, kVectorBytes);
    Tiles::template load<kInput<kLast>>(x, k);
    Tiles::template zero<kDots<kLast> + kOdd>();
    Tiles::template multiply_add<kDots<kLast> + kOdd, kInput<kLast>, kWeights + kOdd>();
    Tiles::template store<kDots<kLast> + kOdd>(dots, kVectorBytes);
  }

  // Number b of a chunk's blocks.
  template <bool kHasMinima>
  static void add(const QuantizedRows& x, const Chunk& chunk, int64_t b, const int64_t (&first)[kRows],
                  const int32_t* dots, F32x16 (&sums)[kRows]) {
    const std::byte* block = chunk.blocks + b * chunk.block_bytes;
    const F32x16 scales = load_f16(block);
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F32x16 x_scale = splat(x.scales[first[r] + b]);
      const I32x16 dot = load_bits(reinterpret_cast<const std::byte*>(dots + r * kGroupRows));
      sums[r] = fma(to_float(dot), scales * x_scale, sums[r]);
      if constexpr (kHasMinima)
        sums[r] = fma(load_f16(block + kHalvesBytes), x_scale * to_float(splat(x.sums[first[r] + b])), sums[r]);
    }
  }

  template <bool kHasMinima, bool kLast>
  static void multiply_rows(const MatmulArgs& args, const Chunk& chunk, int64_t row, int n_rows, float* sums) {
    alignas(64) int32_t even[kRows * kGroupRows] = {}, odd[kRows * kGroupRows] = {};
    F32x16 running[kRows];
    int64_t first[kRows];  // block of each row; of the last row for those that there are not
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      running[r] = load(sums + r * kGroupRows);
      first[r] = (row + (r < n_rows ? r : n_rows - 1)) * (args.k / kBlock) + chunk.first;
    }
    const QuantizedRows x_q = args.x_q;
    const std::byte* weights = chunk.arranged;
    const int8_t* x = x_q.values + row * args.k + chunk.first * kBlock;
    dot<kLast, 0>(weights, x, args.k, even);
    for (int64_t b = 0, n = chunk.n_blocks; b < n; b += 2, weights += 2 * kArrangedBytes, x += 2 * kBlock) {
      if (b + 1 < n) dot<kLast, 1>(weights + kArrangedBytes, x + kBlock, args.k, odd);
      add<kHasMinima>(x_q, chunk, b, first, even, running);
      if (b + 2 < n) dot<kLast, 0>(weights + 2 * kArrangedBytes, x + 2 * kBlock, args.k, even);
      if (b + 1 < n) add<kHasMinima>(x_q, chunk, b + 1, first, odd, running);
    }
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) store(sums + r * kGroupRows, running[r]);
  }
};

}  // namespace
}  // namespace t5g::kernels
