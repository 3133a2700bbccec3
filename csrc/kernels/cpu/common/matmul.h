// Matrix products, tile by tile: kGroups groups of 16 outputs times kRows rows of x are held in registers while k runs.
//
// Every output is one chain of fused multiply-adds in order of k (float types; in BF16, whose activations are rounded
// to bfloat16 too, the odd one of each pair comes first, as in VDPBF16PS) or of blocks (quantised types, whose dot
// product within a block is an exact integer), whatever the tile it falls into.
#pragma once

#include "kernels/cpu/common/formats.h"
#include "kernels/cpu/common/math.h"
#include "kernels/cpu/common/unroll.h"
#include "kernels/cpu/kernels.h"

namespace t5g::kernels {
namespace {

template <int kGroups, int kRows>
void store_tile(const MatmulArgs& args, int64_t group, int64_t row, F32x16 (&sums)[kGroups][kRows]) {
  T5G_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    const int64_t column = (group + g) * kGroupRows;
    float* y = args.y + row * args.ldy + column;
    const int lanes = lanes_left(args.n, column);
    if (args.bias != nullptr) {
      const F32x16 bias = load_first(args.bias + column, lanes);
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) sums[g][r] = sums[g][r] + bias;
    }
    if (args.add) {
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) sums[g][r] = load_first(y + r * args.ldy, lanes) + sums[g][r];
    }
    if (lanes == kGroupRows) {
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) store(y + r * args.ldy, sums[g][r]);
    } else {
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) store_first(y + r * args.ldy, sums[g][r], lanes);
    }
  }
}

// Asks for the lines of a tile's outputs, which are far from the caches where there are many rows: fetched when the
// sums are done, they cost 2 % of an image.
template <int kGroups, int kRows>
inline void prefetch_tile(const MatmulArgs& args, int64_t group, int64_t row) {
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    T5G_UNROLL
    for (int g = 0; g < kGroups; ++g)
      __builtin_prefetch(args.y + (row + r) * args.ldy + (group + g) * kGroupRows, 1, 3);
  }
}

template <typename Format, int kGroups, int kRows>
void float_tile(const MatmulArgs& args, int64_t group, int64_t row) {
  const int64_t n_steps = (args.k + Format::kStep - 1) / Format::kStep, x_stride = n_steps * Format::kStep;
  const int64_t group_bytes = n_steps * Format::kStepBytes;
  const std::byte* weight = args.weight + group * group_bytes;
  const auto* x = Format::x(args) + row * x_stride;
  F32x16 sums[kGroups][kRows];
  T5G_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) sums[g][r] = splat(0.0f);
  }
  for (int64_t s = 0; s < n_steps; ++s, weight += Format::kStepBytes, x += Format::kStep) {
    typename Format::Operand w[kGroups];
    T5G_UNROLL
    for (int g = 0; g < kGroups; ++g) w[g] = Format::load_step(weight + g * group_bytes);
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const typename Format::Operand value = Format::splat_x(x + r * x_stride);
      T5G_UNROLL
      for (int g = 0; g < kGroups; ++g) sums[g][r] = Format::multiply_add(w[g], value, sums[g][r]);
    }
  }
  store_tile(args, group, row, sums);
}

// The exact integer products of one block: kGroups groups with kRows rows of activations.
template <typename Format, int kGroups, int kRows>
inline void dot_block(const std::byte* block, int64_t group_bytes, const int8_t* x, int64_t k,
                      I32x16 (&dots)[kGroups][kRows]) {
  T5G_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) dots[g][r] = splat(0);
  }
  T5G_UNROLL
  for (int step = 0; step < Format::kSteps; ++step) {
    typename Format::Step w[kGroups];
    T5G_UNROLL
    for (int g = 0; g < kGroups; ++g) w[g] = Format::load(block + g * group_bytes, step);
    T5G_UNROLL
    for (int q = 0; q < Format::kQuads; ++q) {
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Quad values = load_quad(x + r * k + 4 * step + 16 * q);
        T5G_UNROLL
        for (int g = 0; g < kGroups; ++g) dots[g][r] = Format::dot(dots[g][r], w[g].quad[q], values);
      }
    }
  }
}

// How far ahead of a stream of weights memory is asked for. The processor's own prefetching keeps up with one row, but
// not with several, whose blocks take longer.
constexpr int64_t kAhead = 4096;
template <int kBytes>
inline void prefetch(const std::byte* from) {
  for (int i = 0; i < kBytes; i += kVectorBytes) __builtin_prefetch(from + i, 0, 2);
}

// Adds the products of blocks [first, end) of some rows; `block` is the first of them.
template <typename Format, int kGroups, int kRows>
inline void add_blocks(const MatmulArgs& args, const std::byte* block, int64_t group_bytes, int64_t row, int64_t first,
                       int64_t end, F32x16 (&sums)[kGroups][kRows]) {
  const int64_t n_blocks = args.k / kBlock;
  const int8_t* x = args.x_q.values + row * args.k + first * kBlock;
  const float* x_scales = args.x_q.scales + row * n_blocks;
  const int32_t* x_sums = args.x_q.sums + row * n_blocks;
  for (int64_t b = first; b < end; ++b, block += Format::kBlockBytes, x += kBlock) {
    if constexpr (kGroups == 1 && kRows > 1) prefetch<Format::kBlockBytes>(block + kAhead);
    I32x16 dots[kGroups][kRows];
    dot_block<Format>(block, group_bytes, x, args.k, dots);
    T5G_UNROLL
    for (int g = 0; g < kGroups; ++g) {
      const F32x16 scales = load_f16(block + g * group_bytes);
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const I32x16 x_sum = splat(x_sums[r * n_blocks + b]);
        const F32x16 x_scale = splat(x_scales[r * n_blocks + b]);
        I32x16 dot = dots[g][r];
        if constexpr (Format::kOffsetLog2 >= 0) dot = dot - shift_left<Format::kOffsetLog2>(x_sum);
        sums[g][r] = fma(to_float(dot), scales * x_scale, sums[g][r]);
        if constexpr (Format::kHasMinima) {
          const F32x16 minima = load_f16(block + g * group_bytes + kHalvesBytes);
          sums[g][r] = fma(minima, x_scale * to_float(x_sum), sums[g][r]);
        }
      }
    }
  }
}

template <typename Format, int kGroups, int kRows>
void quantized_tile(const MatmulArgs& args, int64_t group, int64_t row) {
  const int64_t n_blocks = args.k / kBlock, group_bytes = n_blocks * Format::kBlockBytes;
  if constexpr (kGroups > 1) prefetch_tile<kGroups, kRows>(args, group, row);
  F32x16 sums[kGroups][kRows];
  T5G_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) sums[g][r] = splat(0.0f);
  }
  add_blocks<Format>(args, args.weight + group * group_bytes, group_bytes, row, 0, n_blocks, sums);
  store_tile(args, group, row, sums);
}

template <typename Format, int kGroups, int kRows>
inline void tile(const MatmulArgs& args, int64_t group, int64_t row) {
  if constexpr (Format::kFloat) {
    float_tile<Format, kGroups, kRows>(args, group, row);
  } else {
    quantized_tile<Format, kGroups, kRows>(args, group, row);
  }
}

// Rows [row, m) of kGroups groups, kRows at a time, then fewer.
template <typename Format, int kGroups, int kRows>
void sweep_rows(const MatmulArgs& args, int64_t group, int64_t row) {
  // A last row alone would take almost as long as several: it makes the tile before it a larger one.
  constexpr bool kJoins = !Format::kFloat && kGroups > 1 && kRows == Format::kRows;
  for (; row + kRows <= args.m; row += kRows) {
    if constexpr (kJoins) {
      if (args.m - row == kRows + 1) return tile<Format, kGroups, kRows + 1>(args, group, row);
    }
    tile<Format, kGroups, kRows>(args, group, row);
  }
  if constexpr (kRows > 1) {
    if (row < args.m) sweep_rows<Format, kGroups, kRows - 1>(args, group, row);
  }
}

// Where unpacking takes long and rows are many, some blocks at a time are unpacked once for all of them, and the rows'
// sums are kept meanwhile: for Q5_0 7 % (640 values) to 17 % (6,912) faster.
constexpr int64_t kUnpackedBlocks = 16, kUnpackedRows = 128;

// Blocks [first, end) of rows [row, row_end), kRows at a time, then fewer. kept: sums of the blocks before.
template <typename Format, int kGroups, int kRows>
void sweep_unpacked(const MatmulArgs& args, const std::byte* blocks, int64_t group, int64_t row, int64_t row_end,
                    int64_t first, int64_t end, float* kept) {
  for (; row + kRows <= row_end; row += kRows, kept += kGroups * kRows * kGroupRows) {
    F32x16 sums[kGroups][kRows];
    T5G_UNROLL
    for (int i = 0; i < kGroups * kRows; ++i) sums[i / kRows][i % kRows] = load(kept + i * kGroupRows);
    add_blocks<Format>(args, blocks, kUnpackedBlocks * Format::kBlockBytes, row, first, end, sums);
    if (end == args.k / kBlock) {
      store_tile(args, group, row, sums);
    } else {
      T5G_UNROLL
      for (int i = 0; i < kGroups * kRows; ++i) store(kept + i * kGroupRows, sums[i / kRows][i % kRows]);
    }
  }
  if constexpr (kRows > 1) {
    if (row < row_end) sweep_unpacked<Format, kGroups, kRows - 1>(args, blocks, group, row, row_end, first, end, kept);
  }
}

template <typename Format, int kGroups>
void multiply_unpacked(const MatmulArgs& args, int64_t group) {
  using Unpacked = typename Format::Unpacked;
  alignas(64) std::byte blocks[kGroups * kUnpackedBlocks * Unpacked::kBlockBytes];
  alignas(64) float kept[kUnpackedRows * kGroups * kGroupRows];
  const int64_t n_blocks = args.k / kBlock;
  for (int64_t row = 0; row < args.m; row += kUnpackedRows) {
    const int64_t row_end = args.m - row < kUnpackedRows ? args.m : row + kUnpackedRows;
    for (float& sum : kept) sum = 0.0f;
    for (int64_t first = 0; first < n_blocks; first += kUnpackedBlocks) {
      const int64_t n = n_blocks - first < kUnpackedBlocks ? n_blocks - first : kUnpackedBlocks;
      for (int g = 0; g < kGroups; ++g) {
        const std::byte* packed = args.weight + ((group + g) * n_blocks + first) * Format::kBlockBytes;
        std::byte* out = blocks + g * kUnpackedBlocks * Unpacked::kBlockBytes;
        for (int64_t b = 0; b < n; ++b)
          Unpacked::unpack(packed + b * Format::kBlockBytes, out + b * Unpacked::kBlockBytes);
      }
      sweep_unpacked<Unpacked, kGroups, Unpacked::kRows>(args, blocks, group, row, row_end, first, first + n, kept);
    }
  }
}

// Groups outermost: the weights of a few groups stay in the first caches while all rows of x pass by.
template <typename Format, int kGroups, int kRows>
void sweep_groups(const MatmulArgs& args, int64_t group) {
  for (; group + kGroups <= args.group_end; group += kGroups) {
    if constexpr (kGroups > 1 && requires { typename Format::Unpacked; }) {
      multiply_unpacked<Format, kGroups>(args, group);
    } else {
      sweep_rows<Format, kGroups, kRows>(args, group, 0);
    }
  }
  if constexpr (kGroups > 1) {
    if (group < args.group_end) sweep_groups<Format, kGroups / 2, kRows>(args, group);
  }
}

// Up to so many rows, 8 rows of one group are faster than fewer of two: 1.7 to 2.2 times for 2 to 8 rows.
constexpr int64_t kFewRows = 48;

template <typename Format>
void matmul(const MatmulArgs& args) {
  constexpr int kGroups = Format::kFloat ? Tiles::kFloatGroups : Tiles::kQuantizedGroups;
  // With one row, float groups need company for the latency of their sums. Quantised ones do not, and the weights of
  // one group at a time are one stream of memory: measured 10 to 40 % faster than two or four.
  constexpr int kMatvecGroups = Format::kFloat ? Tiles::kFloatMatvecGroups : 1;
  if (args.m == 1) {
    sweep_groups<Format, kMatvecGroups, 1>(args, args.group_begin);
  } else if (!Format::kFloat && args.m <= kFewRows) {
    // The rows of a batch or of beams: again one stream of weights, read once.
    sweep_groups<Format, 1, kGroups == 1 ? Format::kRows : 8>(args, args.group_begin);
  } else {
    sweep_groups<Format, kGroups, Format::kRows>(args, args.group_begin);
  }
}

}  // namespace
}  // namespace t5g::kernels
