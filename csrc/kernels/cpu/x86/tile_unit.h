// Tiles of 16 rows of activations by 16 rows of weights with a tile unit (tiles_amx.h, or the tests' emulation of it).
//
// A packed block is what TDPBSSD takes for its second matrix: 8 rows of four values of each of 16 columns. Activations
// are loaded as they lie. The dot products of a block go through memory to the vectors, which add them to the sums
// while the unit is busy with the next blocks.
//
// Measured on Granite Rapids, for 16 x 16 outputs of a block of Q8_0: the unit alone takes 14 ns (its multiplication 5,
// the store 4.6), the vectors alone 13 ns, both together 24 ns instead of the 41 that AVX-512 VNNI takes.
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
    shape(kWeights, kBlock / 4, kVectorBytes);
    shape(kInput<false>, kRows, kBlock);
    shape(kInput<true>, args.m % kRows, kBlock);
    shape(kDots<false>, kRows, kVectorBytes);
    shape(kDots<true>, args.m % kRows, kVectorBytes);
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
  // Blocks whose products the unit has in work, or in memory, before the vectors come to them.
  static constexpr int kAhead = 3;

  // Tiles, by number. The last rows, fewer than kRows, have tiles of their own.
  static constexpr int kWeights = 0;
  template <bool kLast>
  static constexpr int kInput = kLast ? 2 : 1;
  template <bool kLast>
  static constexpr int kDots = kLast ? 4 : 3;

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
  template <bool kLast>
  static void dot(const std::byte* weights, const int8_t* x, int64_t k, int32_t* dots) {
    Tiles::template load<kWeights>(weights, kVectorBytes);
    Tiles::template load<kInput<kLast>>(x, k);
    Tiles::template zero<kDots<kLast>>();
    Tiles::template multiply_add<kDots<kLast>, kInput<kLast>, kWeights>();
    Tiles::template store<kDots<kLast>>(dots, kVectorBytes);
  }

  // What the products of a chunk's blocks are multiplied with. A copy, because all of it then lies at fixed distances
  // from one address, of which sixteen would not fit into registers.
  struct Scales {
    alignas(64) float scales[kRows][kChunkBlocks];
    alignas(64) float offsets[kRows][kChunkBlocks];  // scale times sum, for types with minima
  };
  template <bool kHasMinima>
  static void gather(const MatmulArgs& args, const Chunk& chunk, int64_t row, int n_rows, Scales& out) {
    static_assert(kChunkBlocks == 16);
    const auto n = static_cast<int>(chunk.n_blocks);
    for (int r = 0; r < n_rows; ++r) {
      const int64_t at = (row + r) * (args.k / kBlock) + chunk.first;
      const F32x16 scales = load_first(args.x_q.scales + at, n);
      store(out.scales[r], scales);
      if constexpr (kHasMinima) store(out.offsets[r], scales * to_float(load_sums(args, at, n)));
    }
  }
  // Sums [at, at + n) of the rows' blocks, with any behind them.
  static I32x16 load_sums(const MatmulArgs& args, int64_t at, int n) {
    const int32_t* sums = args.x_q.sums + at;
    if (at + kChunkBlocks <= args.m * (args.k / kBlock)) return load_bits(reinterpret_cast<const std::byte*>(sums));
    alignas(64) int32_t last[kChunkBlocks] = {};
    for (int b = 0; b < n; ++b) last[b] = sums[b];
    return load_bits(reinterpret_cast<const std::byte*>(last));
  }

  // Adds the dot products [rows][16] of number b of a chunk's blocks.
  template <bool kHasMinima>
  static void add(const Chunk& chunk, int64_t b, const Scales& x, const int32_t* dots, F32x16 (&sums)[kRows]) {
    const std::byte* block = chunk.blocks + b * chunk.block_bytes;
    const F32x16 scales = load_f16(block);
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const I32x16 dot = load_bits(reinterpret_cast<const std::byte*>(dots + r * kGroupRows));
      sums[r] = fma(to_float(dot), scales * splat(x.scales[r][b]), sums[r]);
      if constexpr (kHasMinima) sums[r] = fma(load_f16(block + kHalvesBytes), splat(x.offsets[r][b]), sums[r]);
    }
  }

  template <bool kHasMinima, bool kLast>
  static void multiply_rows(const MatmulArgs& args, const Chunk& chunk, int64_t row, int n_rows, float* sums) {
    alignas(64) int32_t dots[kAhead + 1][kRows * kGroupRows];
    Scales scales;
    if constexpr (kLast) {  // rows that there are not
      scales = {};
      __builtin_memset(dots, 0, sizeof dots);
    }
    gather<kHasMinima>(args, chunk, row, n_rows, scales);
    F32x16 running[kRows];
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) running[r] = load(sums + r * kGroupRows);
    const int8_t* x = args.x_q.values + row * args.k + chunk.first * kBlock;
    const auto start = [&](int64_t b) {
      dot<kLast>(chunk.arranged + b * kArrangedBytes, x + b * kBlock, args.k, dots[b % (kAhead + 1)]);
    };
    const int64_t n = chunk.n_blocks;
    for (int64_t b = 0; b < kAhead && b < n; ++b) start(b);
    for (int64_t b = 0; b < n; ++b) {
      if (b + kAhead < n) start(b + kAhead);
      add<kHasMinima>(chunk, b, scales, dots[b % (kAhead + 1)], running);
    }
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) store(sums + r * kGroupRows, running[r]);
  }
};

}  // namespace
}  // namespace t5g::kernels
