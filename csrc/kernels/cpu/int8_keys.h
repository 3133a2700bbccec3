// Keys and queries as int8, in the place of those of BF16. Their scores are a matrix product with Q8_0 weights, the
// queries being the weights and a chunk's keys the activations, by whatever instruction a level has for that; all that
// follows the scores is BF16's. Levels agree to the bit because their products do.
#pragma once

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/kv_layout.h"

namespace t5g::kernels {
namespace {

// Scores are in the units of BF16's (kScoreUnits in common/math.h).
constexpr float kInt8ScoreUnits = 0x1.715476p+0f * 128.0f;

// One head's keys in one chunk: rows of int8, padded with zeros to whole blocks, and then the blocks' scales and sums.
// The values lie where those of BF16 do.
struct Int8Keys {
  const int padded, blocks;  // values and blocks of a row
  int8_t* const values;      // [kChunkKeys, padded]
  float* const scales;       // [kChunkKeys, blocks]
  int32_t* const sums;       // [kChunkKeys, blocks]

  Int8Keys(std::byte* chunk, int head_dim)
      : padded(static_cast<int>(kv_blocks(head_dim)) * kBlock),
        blocks(static_cast<int>(kv_blocks(head_dim))),
        values(reinterpret_cast<int8_t*>(chunk)),
        scales(reinterpret_cast<float*>(chunk + kChunkKeys * padded)),
        sums(reinterpret_cast<int32_t*>(scales + kChunkKeys * blocks)) {}
  // Rows from `key` on, to be multiplied.
  QuantizedRows rows(int key) const { return {values + key * padded, scales + key * blocks, sums + key * blocks}; }
};

// Whether they have room in the place of BF16's.
constexpr bool has_int8_keys(int head_dim) {
  return kv_blocks(head_dim) * (kBlock + sizeof(float) + sizeof(int32_t)) <=
         2 * round_up(static_cast<size_t>(head_dim), 2);
}

// x [n] * scale as blocks, the last one padded with zeros.
inline void quantize_blocks(const KernelTable& kernels, const float* x, float scale, int n, int8_t* values,
                            float* scales, int32_t* sums) {
  for (int first = 0, b = 0; first < n; first += kBlock, ++b) {
    float block[kBlock] = {};
    for (int i = 0; i < kBlock && first + i < n; ++i) block[i] = x[first + i] * scale;
    kernels.quantize_row(block, kBlock, values + first, scales + b, sums + b);
  }
}

// As KvKernels::store_token.
inline void store_int8_token(const KernelTable& kernels, const float* key, const float* value, int head_dim, int slot,
                             std::byte* chunk) {
  const Int8Keys keys(chunk, head_dim);
  quantize_blocks(kernels, key, 1.0f, head_dim, keys.values + slot * keys.padded, keys.scales + slot * keys.blocks,
                  keys.sums + slot * keys.blocks);
  kernels.kv[static_cast<size_t>(DataType::kBF16)].store_token(nullptr, value, head_dim, slot, chunk);
}

// As KvKernels::prepare_query: out is the int8, padded, and then the blocks' scales.
inline void prepare_int8_query(const KernelTable& kernels, const float* q, float scale, int head_dim, float* out) {
  const auto blocks = static_cast<int>(kv_blocks(head_dim));
  int32_t sum;
  for (int b = 0; b < blocks; ++b) {
    const int first = b * kBlock, n = head_dim - first < kBlock ? head_dim - first : kBlock;
    quantize_blocks(kernels, q + first, scale * kInt8ScoreUnits, n, reinterpret_cast<int8_t*>(out) + first,
                    out + blocks * kBlock / 4 + b, &sum);
  }
}

}  // namespace
}  // namespace t5g::kernels
