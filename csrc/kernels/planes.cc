// Splits Q8_0 blocks into planes, and brings activations into their order.
#include "kernels/planes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/q8_0.h"

namespace t5g::kernels {
namespace {

constexpr size_t kScalesBytes = kStripBlocks * kGroupRows * sizeof(uint16_t);
constexpr size_t kRowBytes = kStripValues / 2;
constexpr size_t kQuarterBytes = kBlock / 2;

// One block -> 16 bytes of each plane, and the sum of (2 l - 15)^2.
int split(const BlockQ8_0& block, std::byte* coarse, std::byte* fine) {
  uint8_t high[kBlock], low[kBlock];
  int sum = 0;
  for (int i = 0; i < kBlock; ++i) {
    const int value = block.values[i] + 128;
    high[i] = static_cast<uint8_t>(value >> 4);
    low[i] = static_cast<uint8_t>(value & 15);
    sum += (2 * low[i] - 15) * (2 * low[i] - 15);
  }
  for (size_t i = 0; i < kQuarterBytes; ++i) {
    coarse[i] = static_cast<std::byte>(high[i] | high[i + kQuarterBytes] << 4);
    fine[i] = static_cast<std::byte>(low[i] | low[i + kQuarterBytes] << 4);
  }
  return sum;
}

}  // namespace

bool pack_planes(const std::byte* matrix, int64_t n, int64_t k, int64_t group, std::byte* coarse, std::byte* fine,
                 uint8_t* norms) {
  const auto at = static_cast<size_t>(group), n_blocks = static_cast<size_t>(k / kBlock);
  const auto n_rows = static_cast<size_t>(std::min<int64_t>(kGroupRows, n - group * kGroupRows));
  coarse += at * coarse_group_bytes(k);
  fine += at * fine_group_bytes(k);
  norms += at * norm_group_bytes(k);
  if (n_rows < kGroupRows) {  // the others: scales 0, and 16 * 8 + 0 - 128 = 0
    std::memset(fine, 0, fine_group_bytes(k));
    for (size_t strip = 0; strip < n_blocks / kStripBlocks; ++strip) {
      std::byte* scales = coarse + strip * (kScalesBytes + kGroupRows * kRowBytes);
      std::memset(scales, 0, kScalesBytes);
      std::memset(scales + kScalesBytes, 0x88, kGroupRows * kRowBytes);
    }
  }
  const std::byte* rows = matrix + at * kGroupRows * n_blocks * sizeof(BlockQ8_0);
  bool finite = true;
  for (size_t b = 0; b < n_blocks; ++b) {
    const size_t strip = b / kStripBlocks, quarter = b % kStripBlocks;
    std::byte* scales = coarse + strip * (kScalesBytes + kGroupRows * kRowBytes);
    std::byte* high = scales + kScalesBytes + quarter * kQuarterBytes;
    std::byte* low = fine + strip * kGroupRows * kRowBytes + quarter * kQuarterBytes;
    int largest = 0;
    for (size_t row = 0; row < n_rows; ++row) {
      BlockQ8_0 block;  // a copy: a mapped file need not be aligned for it
      std::memcpy(&block, rows + (row * n_blocks + b) * sizeof block, sizeof block);
      std::memcpy(scales + (quarter * kGroupRows + row) * sizeof block.scale, &block.scale, sizeof block.scale);
      finite &= (block.scale & 0x7c00u) != 0x7c00u;
      largest = std::max(largest, split(block, high + row * kRowBytes, low + row * kRowBytes));
    }
    // At most 0.5 sqrt(32 * 15^2) = 42.4, in fifths 212.
    norms[b] = static_cast<uint8_t>(std::ceil(0.5 * std::sqrt(largest) / kPlaneNormUnit));
  }
  return finite;
}

void prepare_plane_input(const QuantizedRows& x, int64_t row, int64_t k, int8_t* values, float* norms) {
  const int8_t* from = x.values + row * k;
  const float* scales = x.scales + row * (k / kBlock);
  for (int64_t b = 0; b < k / kBlock; ++b, from += kBlock) {
    int8_t* quarter = values + b / kStripBlocks * kStripValues + b % kStripBlocks * static_cast<int64_t>(kQuarterBytes);
    std::memcpy(quarter, from, kQuarterBytes);
    std::memcpy(quarter + kStripValues / 2, from + kQuarterBytes, kQuarterBytes);
    int square = 0;
    for (int i = 0; i < kBlock; ++i) square += from[i] * from[i];
    // Rounded up by more than the arithmetic here can be wrong.
    norms[b] = static_cast<float>(static_cast<double>(scales[b]) * std::sqrt(square) * (1 + 0x1p-20));
  }
}

void prefetch_row(const Planes& weight, int32_t row) {
  const auto group = static_cast<size_t>(row / kGroupRows), lane = static_cast<size_t>(row % kGroupRows);
  const std::byte* coarse = weight.coarse + group * coarse_group_bytes(weight.k);
  const std::byte* fine = weight.fine + group * fine_group_bytes(weight.k) + lane * kRowBytes;
  for (int64_t strip = 0; strip < weight.k / kStripValues; ++strip) {
    __builtin_prefetch(coarse);
    __builtin_prefetch(coarse + kScalesBytes / 2);
    __builtin_prefetch(coarse + kScalesBytes + lane * kRowBytes);
    __builtin_prefetch(fine);
    coarse += kScalesBytes + kGroupRows * kRowBytes;
    fine += kGroupRows * kRowBytes;
  }
}

}  // namespace t5g::kernels
