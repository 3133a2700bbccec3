// Products of many rows of activations, for levels with instructions that multiply matrices of bytes: the weights of a
// few blocks are unpacked once, in the order of the instruction, and a panel of rows passes by them.
//
// A level's Unit says how: kRows (of a tile, a divisor of kPanelRows), arrange() (one block's weights as signed bytes,
// the stored offset taken off), multiply() (adds the products of a chunk of blocks to the sums of up to kRows rows) and
// read() (a row of a tile's sums); one lives as long as a call. The dot products of a block are exact and the sums grow
// block by block, as in common/matmul.h, and so the bits are the same.
#pragma once

#include "kernels/cpu/common/matmul.h"

namespace t5g::kernels {
namespace {

constexpr int kArrangedBytes = kBlock * kGroupRows;  // of one block
// Together with the activations that meet them, these fill half of a first cache.
constexpr int64_t kChunkBlocks = 16, kPanelRows = 128;
constexpr int64_t kPanelGroups = 4;  // whose outputs are stored together

// Some blocks of a group.
struct Chunk {
  const std::byte* arranged;  // [n_blocks][kArrangedBytes]
  const std::byte* blocks;    // as packed, for the scales and minima
  int64_t block_bytes;
  int64_t first;  // of the row's blocks
  int64_t n_blocks;
};

// Some rows of activations.
struct Panel {
  int64_t first, n_rows;
};

// The sums of one group: [n_rows, rounded up to tiles][16], as the unit keeps them.
template <typename Format, typename Unit>
void sum_group(Unit& unit, const MatmulArgs& args, int64_t group, Panel panel, float* sums) {
  alignas(64) std::byte arranged[kChunkBlocks * kArrangedBytes];
  const int64_t n_blocks = args.k / kBlock;
  const std::byte* block = args.weight + group * n_blocks * Format::kBlockBytes;
  for (int64_t r = 0; r < panel.n_rows; r += Unit::kRows) {
    for (int i = 0; i < Unit::kRows; ++i) store(sums + (r + i) * kGroupRows, splat(0.0f));
  }
  for (int64_t first = 0; first < n_blocks; first += kChunkBlocks) {
    const int64_t n = n_blocks - first < kChunkBlocks ? n_blocks - first : kChunkBlocks;
    const Chunk chunk = {arranged, block, Format::kBlockBytes, first, n};
    for (int64_t b = 0; b < n; ++b, block += Format::kBlockBytes)
      unit.template arrange<Format>(block, arranged + b * kArrangedBytes);
    for (int64_t r = 0; r < panel.n_rows; r += Unit::kRows) {
      const auto count = static_cast<int>(panel.n_rows - r < Unit::kRows ? panel.n_rows - r : Unit::kRows);
      unit.template multiply<Format::kHasMinima>(args, chunk, panel.first + r, count, sums + r * kGroupRows);
    }
  }
}

// The outputs of a few groups are stored together: rows of outputs often lie on a page each, or in one set of the first
// cache (with 2,048 floats, a tenth to a fifth of the time).
template <typename Format, typename Unit>
void multiply_panel(Unit& unit, const MatmulArgs& args, int64_t group, int64_t n_groups, Panel panel) {
  alignas(64) float sums[kPanelGroups][kPanelRows * kGroupRows];
  for (int64_t g = 0; g < n_groups; ++g) sum_group<Format>(unit, args, group + g, panel, sums[g]);
  for (int64_t r = 0; r < panel.n_rows; ++r) {
    for (int64_t g = 0; g < n_groups; ++g) {
      const float* tile = sums[g] + r / Unit::kRows * Unit::kRows * kGroupRows;
      F32x16 done[1][1] = {{unit.read(tile, static_cast<int>(r % Unit::kRows))}};
      store_tile(args, group + g, panel.first + r, done);
    }
  }
}

// Fewer rows than a tile has are left to the level kFew.
template <typename Unit, const KernelTable& kFew, typename Format, DataType kType>
void matmul_of_many(const MatmulArgs& args) {
  if (args.m < Unit::kRows) return kFew.matmul[static_cast<size_t>(kType)](args);
  Unit unit(args);
  // Panels outermost: a panel's activations stay in the second cache for all weights.
  for (int64_t row = 0; row < args.m; row += kPanelRows) {
    const Panel panel = {row, args.m - row < kPanelRows ? args.m - row : kPanelRows};
    for (int64_t group = args.group_begin; group < args.group_end; group += kPanelGroups) {
      const int64_t left = args.group_end - group;
      multiply_panel<Format>(unit, args, group, left < kPanelGroups ? left : kPanelGroups, panel);
    }
  }
}

template <typename Unit, const KernelTable& kFew, typename Format, DataType kType>
constexpr KernelOf<MatmulArgs> quantized_matmul_of_many() {
  if constexpr (Format::kFloat) {
    return nullptr;
  } else {
    return &matmul_of_many<Unit, kFew, Format, kType>;
  }
}

// The table of a level that multiplies many rows by its Unit, and has nothing else of its own.
template <typename Unit, const KernelTable& kFew>
constexpr KernelTable table_of_many(const char* name, uint64_t required_features) {
  KernelTable table = {};
  table.name = name;
  table.required_features = required_features;
  table.matmul = {
#define T5G_TYPE(type, id, values, bytes) quantized_matmul_of_many<Unit, kFew, Packed##type, DataType::k##type>(),
#include "quant/types.inc"
#undef T5G_TYPE
  };
  return table;
}

}  // namespace
}  // namespace t5g::kernels
