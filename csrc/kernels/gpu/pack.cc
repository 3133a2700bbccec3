// Quantised blocks are taken apart into planes, so that every read of a kernel is of 8 or 16 aligned bytes.
#include "kernels/gpu/pack.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"

namespace t5g::gpu {
namespace {

constexpr size_t kAlignment = 256;  // of planes, from where a weight begins

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

struct PlaneBytes {  // of one block of 32 values
  size_t values, scales, high;
};
PlaneBytes plane_bytes(DataType type) {
  switch (type) {
    case DataType::kF32:
      return {4 * kBlock, 0, 0};
    case DataType::kF16:
    case DataType::kBF16:
      return {2 * kBlock, 0, 0};
    case DataType::kQ8_0:
      return {kBlock, 2, 0};
    case DataType::kQ5_1:
      return {kBlock / 2, 4, 4};
    case DataType::kQ5_0:
      return {kBlock / 2, 2, 4};
    case DataType::kQ4_1:
      return {kBlock / 2, 4, 0};
    case DataType::kQ4_0:
      return {kBlock / 2, 2, 0};
  }
  return {};
}

// Value i of a block that has i in the low nibbles of its bytes up to 15, then in the high ones.
uint8_t nibble(const uint8_t* nibbles, size_t i) {
  return static_cast<uint8_t>(i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4);
}

// Of each eight values, the first four lie in the low nibbles of four bytes, the others in the high ones: so one mask
// makes bytes of four neighbours.
void put_nibbles(const uint8_t* nibbles, std::byte* values) {
  for (size_t eight = 0; eight < kBlock; eight += 8) {
    for (size_t i = 0; i < 4; ++i)
      *values++ = static_cast<std::byte>(nibble(nibbles, eight + i) | nibble(nibbles, eight + 4 + i) << 4);
  }
}

void put(const BlockQ8_0& block, std::byte* values, std::byte* scales, std::byte*) {
  std::memcpy(values, block.values, kBlock);
  std::memcpy(scales, &block.scale, 2);
}
void put(const BlockQ4_0& block, std::byte* values, std::byte* scales, std::byte*) {
  put_nibbles(block.nibbles, values);
  std::memcpy(scales, &block.scale, 2);
}
void put(const BlockQ5_0& block, std::byte* values, std::byte* scales, std::byte* high) {
  put_nibbles(block.nibbles, values);
  std::memcpy(scales, &block.scale, 2);
  std::memcpy(high, block.fifth_bits, 4);
}
void put(const BlockQ4_1& block, std::byte* values, std::byte* scales, std::byte*) {
  put_nibbles(block.nibbles, values);
  std::memcpy(scales, &block.scale, 2);
  std::memcpy(scales + 2, &block.minimum, 2);
}
void put(const BlockQ5_1& block, std::byte* values, std::byte* scales, std::byte* high) {
  put_nibbles(block.nibbles, values);
  std::memcpy(scales, &block.scale, 2);
  std::memcpy(scales + 2, &block.minimum, 2);
  std::memcpy(high, block.fifth_bits, 4);
}

// Blocks lie one after the other in the file, and in each plane, from row to row too.
template <typename Block>
void pack_blocks(const WeightLayout& layout, const std::byte* rows, int64_t n, std::byte* values, std::byte* scales,
                 std::byte* high) {
  const PlaneBytes bytes = plane_bytes(layout.type);
  for (int64_t left = n * layout.cols; left > 0; left -= kBlock) {
    Block block;
    std::memcpy(&block, rows, sizeof block);
    put(block, values, scales, high);
    rows += sizeof block;
    values += bytes.values;
    scales += bytes.scales;
    high += bytes.high;
  }
}

// Floats as they are, each row padded with zeros.
void pack_floats(const WeightLayout& layout, const std::byte* rows, int64_t n, std::byte* values) {
  const size_t row = row_bytes(layout.type, layout.cols);
  for (int64_t i = 0; i < n; ++i, rows += row, values += layout.values_row_bytes) {
    std::memcpy(values, rows, row);
    std::memset(values + row, 0, layout.values_row_bytes - row);
  }
}

void encode_floats(const WeightLayout& layout, DataType from, const std::byte* rows, int64_t n, std::byte* values,
                   std::byte* scales) {
  std::vector<float> row(round_up(static_cast<size_t>(layout.cols), kBlock));
  for (int64_t i = 0; i < n; ++i, rows += row_bytes(from, layout.cols)) {
    dequantize_row(from, rows, layout.cols, row.data());
    for (size_t at = 0; at < row.size(); at += kBlock, values += kBlock, scales += 2) {
      BlockQ8_0 block;
      encode(row.data() + at, block);
      put(block, values, scales, nullptr);
    }
  }
}

}  // namespace

Weight WeightLayout::at(uint64_t address, int64_t k) const {
  const auto plane = [&](size_t offset) { return reinterpret_cast<void*>(address + offset); };
  return {static_cast<const u8*>(plane(0)),
          scales_row_bytes > 0 ? static_cast<const u16*>(plane(scales_offset)) : nullptr,
          high_row_bytes > 0 ? static_cast<const u32*>(plane(high_offset)) : nullptr, static_cast<u32>(rows),
          static_cast<u32>(k)};
}

WeightLayout weight_layout(DataType type, int64_t rows, int64_t cols) {
  const size_t blocks = round_up(static_cast<size_t>(cols), kBlock) / kBlock, n = static_cast<size_t>(rows);
  const PlaneBytes bytes = plane_bytes(type);
  WeightLayout layout{.type = type, .rows = rows, .cols = cols};
  layout.values_row_bytes = blocks * bytes.values;
  layout.scales_row_bytes = blocks * bytes.scales;
  layout.high_row_bytes = blocks * bytes.high;
  layout.scales_offset = round_up(n * layout.values_row_bytes, kAlignment);
  layout.high_offset = layout.scales_offset + round_up(n * layout.scales_row_bytes, kAlignment);
  layout.total_bytes = layout.high_offset + round_up(n * layout.high_row_bytes, kAlignment);
  return layout;
}

void pack_weight(const WeightLayout& layout, DataType from, const std::byte* rows, int64_t n, std::byte* values,
                 std::byte* scales, std::byte* high) {
  if (from != layout.type) return encode_floats(layout, from, rows, n, values, scales);
  switch (layout.type) {
    case DataType::kF32:
    case DataType::kF16:
    case DataType::kBF16:
      return pack_floats(layout, rows, n, values);
    case DataType::kQ8_0:
      return pack_blocks<BlockQ8_0>(layout, rows, n, values, scales, high);
    case DataType::kQ5_1:
      return pack_blocks<BlockQ5_1>(layout, rows, n, values, scales, high);
    case DataType::kQ5_0:
      return pack_blocks<BlockQ5_0>(layout, rows, n, values, scales, high);
    case DataType::kQ4_1:
      return pack_blocks<BlockQ4_1>(layout, rows, n, values, scales, high);
    case DataType::kQ4_0:
      return pack_blocks<BlockQ4_0>(layout, rows, n, values, scales, high);
  }
}

size_t kv_head_bytes(KvType type, int head_dim) {
  const auto dims = static_cast<size_t>(head_dim);
  switch (type) {
    case KvType::kF32:
      return 2 * kChunkKeys * round_up(dims, 16) * 4;
    case KvType::kF16:
    case KvType::kBF16:
      return 2 * kChunkKeys * round_up(dims, 16) * 2;
    case KvType::kQ8_0:
      return 2 * kChunkKeys * round_up(dims, kBlock) / kBlock * (kBlock + 4);
  }
  return 0;
}

}  // namespace t5g::gpu
