// How keys and values are stored: chunks of kChunkKeys tokens, for each key/value head first the keys, then the values.
// The layout is the same for every ISA level; it exists in memory only.
//
// Keys lie in tiles of kTileKeys, transposed, so that one register holds the same dimension of 16 keys; values in tiles
// of kTileKeys columns, so that a pass over the keys of a tile reads memory in order. In tiles of ...
//   F32, F16: [head_dim][16] keys, [64 keys][16 columns].
//   BF16: pairs that are summed together: [head_dim / 2][16] pairs of dimensions, [32][16] pairs of keys.
//   Keys may be int8 in their place (int8_keys.h).
//   Q8_0: int8 in the order of BF16, behind all tiles' scales (f32), one per 32 dimensions of a token: for keys
//   [tile][head_dim / 32][16], for values [head_dim / 32][64 keys]. A value is its int8 times its scale.
// Dimensions and columns are rounded up to what a tile or block needs; the padding is zero.
#pragma once

#include <cstddef>

#include "kernels/cpu/kernels.h"

namespace t5g::kernels {
namespace {

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Floats from one row of an attention result to the next: whole vectors.
constexpr int acc_stride(int head_dim) { return (head_dim + kTileKeys - 1) / kTileKeys * kTileKeys; }

// Blocks of 32 dimensions that share a scale.
constexpr size_t kv_blocks(int head_dim) { return round_up(static_cast<size_t>(head_dim), kBlock) / kBlock; }

// Chunks that have one result together, as BF16 is never decoded with: few rows would leave threads without work.
constexpr int kMaxPartChunks = 16;
constexpr int chunks_per_part(DataType type) { return type == DataType::kBF16 ? kMaxPartChunks : 1; }

// Rows that BF16 has in work at once.
constexpr int kPairRows = 64;
// Steps, of a pair each, in which BF16 sums a row's dimensions or a chunk's keys: as many as there is room for.
constexpr size_t pair_steps(int head_dim) { return round_up(static_cast<size_t>(head_dim + 1) / 2, kChunkKeys / 2); }
// Floats of attend()'s scratch: for BF16 its rows' queries and results, transposed, and a tile of operands; each pair
// as two floats, as most levels multiply them.
constexpr size_t attend_scratch(DataType type, int head_dim) {
  const size_t steps = pair_steps(head_dim);
  return type == DataType::kBF16 ? kPairRows * (2 * steps + static_cast<size_t>(acc_stride(head_dim))) + 32 * steps : 0;
}

// Whether keys and values can be stored in this type.
constexpr bool is_kv_type(DataType type) {
  return type == DataType::kF32 || type == DataType::kF16 || type == DataType::kBF16 || type == DataType::kQ8_0;
}

// Bytes of the keys of one head in one chunk; the values follow.
constexpr size_t kv_keys_bytes(DataType type, int head_dim) {
  const auto dims = static_cast<size_t>(head_dim);
  switch (type) {
    case DataType::kF16:
      return kChunkKeys * dims * 2;
    case DataType::kBF16:
      return kChunkKeys * round_up(dims, 2) * 2;
    case DataType::kQ8_0:
      return kChunkKeys * (kv_blocks(head_dim) * sizeof(float) + round_up(dims, 2));
    default:
      return kChunkKeys * dims * 4;
  }
}

constexpr size_t kv_values_bytes(DataType type, int head_dim) {
  const size_t columns = round_up(static_cast<size_t>(head_dim), kTileKeys);
  switch (type) {
    case DataType::kF16:
    case DataType::kBF16:
      return kChunkKeys * columns * 2;
    case DataType::kQ8_0:
      return kChunkKeys * (kv_blocks(head_dim) * sizeof(float) + columns);
    default:
      return kChunkKeys * columns * 4;
  }
}

// Keys and values of one head in one chunk.
constexpr size_t kv_head_bytes(DataType type, int head_dim) {
  return kv_keys_bytes(type, head_dim) + kv_values_bytes(type, head_dim);
}

}  // namespace
}  // namespace t5g::kernels
