// Repacks weight rows for the matmul kernels. One writer per type says where a block's fields go.
#include "kernels/cpu/pack.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "quant/float_types.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"

namespace t5g::kernels {
namespace {

constexpr size_t kVectorBytes = 64;
constexpr size_t kHalvesBytes = kGroupRows * sizeof(uint16_t);

// Four bytes of each of `n_vectors` vectors: those of row `row` of the group.
void put_bytes(const void* bytes, size_t n_vectors, int row, std::byte* vectors) {
  const auto* from = static_cast<const std::byte*>(bytes);
  for (size_t g = 0; g < n_vectors; ++g) std::memcpy(vectors + g * kVectorBytes + row * 4, from + g * 4, 4);
}

// fifth_bits holds one bit per value in order of values; the packed byte j of this row holds those of values 4g + j.
void put_fifth_bits(const uint8_t (&fifth_bits)[4], int row, std::byte* vector) {
  for (int j = 0; j < 4; ++j) {
    int packed = 0;
    for (int g = 0; g < 8; ++g) packed |= ((fifth_bits[g / 2] >> (g % 2 * 4 + j)) & 1) << g;
    vector[row * 4 + j] = static_cast<std::byte>(packed);
  }
}

void put_half(uint16_t half, int row, std::byte* halves) { std::memcpy(halves + row * 2, &half, 2); }

template <typename Block>
void put_value(const Block& block, int row, std::byte* out) {
  std::memcpy(out + row * sizeof block, &block, sizeof block);
}
void put(const BlockF32& block, int row, std::byte* out) { put_value(block, row, out); }
void put(const BlockF16& block, int row, std::byte* out) { put_value(block, row, out); }
void put(const BlockQ8_0& block, int row, std::byte* out) {
  put_half(block.scale, row, out);
  put_bytes(block.values, 8, row, out + kHalvesBytes);
}
void put(const BlockQ4_0& block, int row, std::byte* out) {
  put_half(block.scale, row, out);
  put_bytes(block.nibbles, 4, row, out + kHalvesBytes);
}
void put(const BlockQ4_1& block, int row, std::byte* out) {
  put_half(block.scale, row, out);
  put_half(block.minimum, row, out + kHalvesBytes);
  put_bytes(block.nibbles, 4, row, out + 2 * kHalvesBytes);
}
void put(const BlockQ5_0& block, int row, std::byte* out) {
  put_half(block.scale, row, out);
  put_bytes(block.nibbles, 4, row, out + kHalvesBytes);
  put_fifth_bits(block.fifth_bits, row, out + kHalvesBytes + 4 * kVectorBytes);
}
void put(const BlockQ5_1& block, int row, std::byte* out) {
  put_half(block.scale, row, out);
  put_half(block.minimum, row, out + kHalvesBytes);
  put_bytes(block.nibbles, 4, row, out + 2 * kHalvesBytes);
  put_fifth_bits(block.fifth_bits, row, out + 2 * kHalvesBytes + 4 * kVectorBytes);
}

template <typename Block>
void pack_rows(const std::byte* rows, int n_rows, int64_t n_blocks, std::byte* out) {
  for (int row = 0; row < n_rows; ++row) {
    const std::byte* from = rows + row * n_blocks * static_cast<int64_t>(sizeof(Block));
    for (int64_t b = 0; b < n_blocks; ++b) {
      Block block;  // a copy: a mapped file need not be aligned for it
      std::memcpy(&block, from + b * static_cast<int64_t>(sizeof block), sizeof block);
      put(block, row, out + b * static_cast<int64_t>(sizeof block) * kGroupRows);
    }
  }
}

// BF16: the blocks of two consecutive values of a row lie side by side.
template <>
void pack_rows<BlockBF16>(const std::byte* rows, int n_rows, int64_t k, std::byte* out) {
  const int64_t bytes_per_row = k * static_cast<int64_t>(sizeof(BlockBF16));
  for (int row = 0; row < n_rows; ++row) {
    const std::byte* from = rows + row * bytes_per_row;
    for (int64_t at = 0; at < bytes_per_row; at += 4)
      std::memcpy(out + at * kGroupRows + row * 4, from + at,
                  static_cast<size_t>(std::min<int64_t>(4, bytes_per_row - at)));
  }
}

// ---- The inverse ----

void get_bytes(const std::byte* vectors, size_t n_vectors, int row, void* bytes) {
  auto* to = static_cast<std::byte*>(bytes);
  for (size_t g = 0; g < n_vectors; ++g) std::memcpy(to + g * 4, vectors + g * kVectorBytes + row * 4, 4);
}
void get_fifth_bits(const std::byte* vector, int row, uint8_t (&fifth_bits)[4]) {
  std::fill_n(fifth_bits, 4, uint8_t{0});
  for (int j = 0; j < 4; ++j) {
    const int packed = static_cast<int>(vector[row * 4 + j]);
    for (int g = 0; g < 8; ++g)
      fifth_bits[g / 2] = static_cast<uint8_t>(fifth_bits[g / 2] | ((packed >> g) & 1) << (g % 2 * 4 + j));
  }
}
uint16_t get_half(const std::byte* halves, int row) {
  uint16_t half;
  std::memcpy(&half, halves + row * 2, sizeof half);
  return half;
}

template <typename Block>
void get_value(const std::byte* from, int row, Block& block) {
  std::memcpy(&block, from + row * sizeof block, sizeof block);
}
void get(const std::byte* from, int row, BlockF32& block) { get_value(from, row, block); }
void get(const std::byte* from, int row, BlockF16& block) { get_value(from, row, block); }
void get(const std::byte* from, int row, BlockQ8_0& block) {
  block.scale = get_half(from, row);
  get_bytes(from + kHalvesBytes, 8, row, block.values);
}
void get(const std::byte* from, int row, BlockQ4_0& block) {
  block.scale = get_half(from, row);
  get_bytes(from + kHalvesBytes, 4, row, block.nibbles);
}
void get(const std::byte* from, int row, BlockQ4_1& block) {
  block.scale = get_half(from, row);
  block.minimum = get_half(from + kHalvesBytes, row);
  get_bytes(from + 2 * kHalvesBytes, 4, row, block.nibbles);
}
void get(const std::byte* from, int row, BlockQ5_0& block) {
  block.scale = get_half(from, row);
  get_bytes(from + kHalvesBytes, 4, row, block.nibbles);
  get_fifth_bits(from + kHalvesBytes + 4 * kVectorBytes, row, block.fifth_bits);
}
void get(const std::byte* from, int row, BlockQ5_1& block) {
  block.scale = get_half(from, row);
  block.minimum = get_half(from + kHalvesBytes, row);
  get_bytes(from + 2 * kHalvesBytes, 4, row, block.nibbles);
  get_fifth_bits(from + 2 * kHalvesBytes + 4 * kVectorBytes, row, block.fifth_bits);
}

template <typename Block>
void unpack_rows(const std::byte* packed, int64_t k, int64_t block_values, float* out) {
  for (int row = 0; row < kGroupRows; ++row, out += k) {
    for (int64_t b = 0; b < k / block_values; ++b) {
      Block block;
      get(packed + b * static_cast<int64_t>(sizeof block) * kGroupRows, row, block);
      decode(block, out + b * block_values);
    }
  }
}

template <>
void unpack_rows<BlockBF16>(const std::byte* packed, int64_t k, int64_t, float* out) {
  for (int row = 0; row < kGroupRows; ++row, out += k) {
    for (int64_t i = 0; i < k; ++i) {
      BlockBF16 block;
      std::memcpy(&block, packed + i / 2 * 4 * kGroupRows + row * 4 + i % 2 * 2, sizeof block);
      decode(block, out + i);
    }
  }
}

}  // namespace

void unpack_group(DataType type, const std::byte* group, int64_t k, float* out) {
  switch (type) {
#define T5G_TYPE(name, id, values, bytes) \
  case DataType::k##name:                 \
    return unpack_rows<Block##name>(group, k, values, out);
#include "quant/types.inc"
#undef T5G_TYPE
  }
}

size_t packed_group_bytes(DataType type, int64_t k) {
  return kGroupRows * row_bytes(type, type == DataType::kBF16 ? padded_to_pairs(k) : k);
}

void pack_group(DataType type, const std::byte* matrix, int64_t n, int64_t k, int64_t group, std::byte* out) {
  const int n_rows = static_cast<int>(std::min<int64_t>(kGroupRows, n - group * kGroupRows));
  const std::byte* rows = matrix + static_cast<size_t>(group * kGroupRows) * row_bytes(type, k);
  if (n_rows < kGroupRows || k % 2 != 0) std::memset(out, 0, packed_group_bytes(type, k));
  switch (type) {
#define T5G_TYPE(name, id, values, bytes) \
  case DataType::k##name:                 \
    return pack_rows<Block##name>(rows, n_rows, k / values, out);
#include "quant/types.inc"
#undef T5G_TYPE
  }
}

void pack_group_as_q8_0(DataType type, const std::byte* matrix, int64_t n, int64_t k, int64_t group, std::byte* out) {
  const int64_t first = group * kGroupRows, n_rows = std::min<int64_t>(kGroupRows, n - first);
  const int64_t n_blocks = padded_to_blocks(k) / kBlock;
  std::vector<float> values(static_cast<size_t>(n_blocks * kBlock));
  std::vector<BlockQ8_0> blocks(static_cast<size_t>(n_rows * n_blocks));
  for (int64_t row = 0; row < n_rows; ++row) {
    dequantize_row(type, matrix + static_cast<size_t>(first + row) * row_bytes(type, k), k, values.data());
    for (int64_t b = 0; b < n_blocks; ++b)
      encode(values.data() + b * kBlock, blocks[static_cast<size_t>(row * n_blocks + b)]);
  }
  pack_group(DataType::kQ8_0, reinterpret_cast<const std::byte*>(blocks.data()), n_rows, n_blocks * kBlock, 0, out);
}

}  // namespace t5g::kernels
