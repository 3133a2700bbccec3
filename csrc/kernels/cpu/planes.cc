// Splits Q8_0 blocks into planes, and measures the activations that meet them.
#include "kernels/cpu/planes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "quant/q8_0.h"

namespace t5g::kernels {
namespace {

constexpr size_t kVectorBytes = 64, kVectors = 4;
constexpr size_t kScalesBytes = kGroupRows * sizeof(uint16_t);
constexpr size_t kFineBytes = kVectors * kVectorBytes;
constexpr size_t kCoarseBytes = kScalesBytes + kFineBytes;

// One block of a row, whose first bytes of each plane are given; returns the sum of (2 l - 15)^2.
int split(const BlockQ8_0& block, std::byte* coarse, std::byte* fine) {
  constexpr uint32_t kLow = 0x0f0f0f0f;  // of four values at a time
  for (size_t i = 0; i < kBlock / 2; i += 4) {
    uint32_t first, second;
    std::memcpy(&first, block.values + i, sizeof first);
    std::memcpy(&second, block.values + kBlock / 2 + i, sizeof second);
    first ^= 0x80808080;  // adds 128
    second ^= 0x80808080;
    const uint32_t high = (first >> 4 & kLow) | (second & ~kLow), low = (first & kLow) | (second & kLow) << 4;
    std::memcpy(coarse + i / 4 * kVectorBytes, &high, sizeof high);
    std::memcpy(fine + i / 4 * kVectorBytes, &low, sizeof low);
  }
  int sum = 0;
  for (const int8_t value : block.values) {
    const auto distance = static_cast<int16_t>(2 * (value & 15) - 15);
    sum += distance * distance;
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
    for (size_t b = 0; b < n_blocks; ++b) {
      std::memset(coarse + b * kCoarseBytes, 0, kScalesBytes);
      std::memset(coarse + b * kCoarseBytes + kScalesBytes, 0x88, kFineBytes);
    }
    std::memset(fine, 0, fine_group_bytes(k));
  }
  const std::byte* rows = matrix + at * kGroupRows * n_blocks * sizeof(BlockQ8_0);
  std::vector<int> largest(n_blocks);
  bool finite = true;
  // Row by row: reading one stream and writing many is faster than the other way round.
  for (size_t row = 0; row < n_rows; ++row) {
    for (size_t b = 0; b < n_blocks; ++b) {
      BlockQ8_0 block;  // a copy: a mapped file need not be aligned for it
      std::memcpy(&block, rows + (row * n_blocks + b) * sizeof block, sizeof block);
      std::byte* scales = coarse + b * kCoarseBytes;
      std::memcpy(scales + row * sizeof block.scale, &block.scale, sizeof block.scale);
      finite &= (block.scale & 0x7c00u) != 0x7c00u;
      largest[b] = std::max(largest[b], split(block, scales + kScalesBytes + row * 4, fine + b * kFineBytes + row * 4));
    }
  }
  // At most 0.5 sqrt(32 * 15^2) = 42.4, in fifths 212.
  for (size_t b = 0; b < n_blocks; ++b)
    norms[b] = static_cast<uint8_t>(std::ceil(0.5 * std::sqrt(largest[b]) / kPlaneNormUnit));
  return finite;
}

void measure_plane_input(const QuantizedRows& x, int64_t m, int64_t k, float* norms, float* offsets) {
  for (int64_t b = 0; b < m * k / kBlock; ++b) {
    const int8_t* values = x.values + b * kBlock;
    int square = 0;
    for (int i = 0; i < kBlock; ++i) square += values[i] * values[i];
    // Rounded up by more than the arithmetic here and of the bounds' norms can be wrong.
    norms[b] = static_cast<float>(static_cast<double>(x.scales[b]) * std::sqrt(square) * (1 + 0x1p-20));
    // 16 h + 7.5 - 128 for every value.
    offsets[b] = (7.5f - 128) * static_cast<float>(x.sums[b]) * x.scales[b];
  }
}

}  // namespace t5g::kernels
