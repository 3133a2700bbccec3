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

// Some blocks of a group.
struct Chunk {
  const std::byte* arranged;  // [n_blocks][kArrangedBytes]
  const std::byte* blocks;    // as packed, for the scales and minima
  int64_t block_bytes;
  int64_t first;  // of the row's blocks
  int64_t n_blocks;
};

template <typename Format, typename Unit>
void multiply_panel(Unit& unit, const MatmulArgs& args, int64_t group, int64_t row, int64_t n_rows) {
  alignas(64) std::byte arranged[kChunkBlocks * kArrangedBytes];
  alignas(64) float sums[kPanelRows * kGroupRows];
  const int64_t n_blocks = args.k / kBlock;
  const std::byte* block = args.weight + group * n_blocks * Format::kBlockBytes;
  for (float& sum : sums) sum = 0.0f;
  for (int64_t first = 0; first < n_blocks; first += kChunkBlocks) {
    const int64_t n = n_blocks - first < kChunkBlocks ? n_blocks - first : kChunkBlocks;
    const Chunk chunk = {arranged, block, Format::kBlockBytes, first, n};
    for (int64_t b = 0; b < n; ++b, block += Format::kBlockBytes)
      unit.template arrange<Format>(block, arranged + b * kArrangedBytes);
    for (int64_t r = 0; r < n_rows; r += Unit::kRows) {
      const int64_t count = n_rows - r < Unit::kRows ? n_rows - r : Unit::kRows;
      unit.template multiply<Format::kHasMinima>(args, chunk, row + r, static_cast<int>(count), sums + r * kGroupRows);
    }
  }
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* tile = sums + r / Unit::kRows * Unit::kRows * kGroupRows;
    F32x16 done[1][1] = {{unit.read(tile, static_cast<int>(r % Unit::kRows))}};
    store_tile(args, group, row + r, done);
  }
}

// Fewer rows than a tile has are left to the level kFew.
template <typename Unit, const KernelTable& kFew, typename Format, DataType kType>
void matmul_of_many(const MatmulArgs& args) {
  if (args.m < Unit::kRows) return kFew.matmul[static_cast<size_t>(kType)](args);
  Unit unit(args);
  for (int64_t group = args.group_begin; group < args.group_end; ++group) {
    for (int64_t row = 0; row < args.m; row += kPanelRows) {
      const int64_t n_rows = args.m - row < kPanelRows ? args.m - row : kPanelRows;
      multiply_panel<Format>(unit, args, group, row, n_rows);
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
