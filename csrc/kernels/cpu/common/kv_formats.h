// How each storage type of keys and values (see kv_layout.h) is written and read.
//
// An operand is what one step of a sum takes from 16 keys, or from 16 columns of values: one number of each, or a pair.
#pragma once

#include "kernels/cpu/common/math.h"
#include "kernels/cpu/kv_layout.h"
#include T5G_DOT    // the level's own, named by its source file, like
#include T5G_PAIRS  // this

namespace t5g::kernels {
namespace {

inline void copy_bytes(std::byte* to, const std::byte* from, int n) {
  for (int i = 0; i < n; ++i) to[i] = from[i];
}

// A float, or what stands for one in 16 bits.
struct ElementF32 {
  static constexpr DataType kType = DataType::kF32;
  static constexpr int kBytes = 4;
  static F32x16 load(const std::byte* from) { return kernels::load(reinterpret_cast<const float*>(from)); }
  static void store(std::byte* to, const F32x16& a) { kernels::store(reinterpret_cast<float*>(to), a); }
};
struct ElementF16 {
  static constexpr DataType kType = DataType::kF16;
  static constexpr int kBytes = 2;
  static F32x16 load(const std::byte* from) { return load_f16(from); }
  static void store(std::byte* to, const F32x16& a) { store_f16(to, a); }
};

// What the types read as single numbers share (see attention.h).
struct SingleNumbers {
  static void prepare_query(const float* q, float scale, int head_dim, float* out) {
    for (int d = 0; d < head_dim; ++d) out[d] = q[d] * scale;
  }
};

template <typename Element>
struct KvFloat : SingleNumbers {
  static constexpr DataType kType = Element::kType;
  static constexpr int kOperandBytes = 16 * Element::kBytes;

  // The keys of one tile.
  struct Keys {
    const std::byte* tile;
    Keys(const std::byte* chunk, int head_dim, int index) : tile(chunk + index * head_dim * kOperandBytes) {}
    F32x16 load(int step) const { return Element::load(tile + step * kOperandBytes); }
  };
  // The values of one tile.
  struct Values {
    const std::byte* tile;
    Values(const std::byte* values, int, int index) : tile(values + index * kChunkKeys * kOperandBytes) {}
    F32x16 load(int step) const { return Element::load(tile + step * kOperandBytes); }
  };

  static void store_token(const float* key, const float* value, int head_dim, int slot, std::byte* chunk) {
    std::byte* keys = chunk + slot / kTileKeys * head_dim * kOperandBytes + slot % kTileKeys * Element::kBytes;
    std::byte* values = chunk + kv_keys_bytes(kType, head_dim) + slot * kOperandBytes;
    for (int d = 0; d < head_dim; d += 16) {
      const int left = lanes_left(head_dim, d);
      alignas(64) std::byte row[kOperandBytes];
      Element::store(row, load_first(key + d, left));
      for (int i = 0; i < left; ++i)
        copy_bytes(keys + (d + i) * kOperandBytes, row + i * Element::kBytes, Element::kBytes);
      Element::store(values + d / 16 * kChunkKeys * kOperandBytes, load_first(value + d, left));
    }
  }
};
using KvF32 = KvFloat<ElementF32>;
using KvF16 = KvFloat<ElementF16>;

// Rounds numbers whose largest magnitude is known to integers of at most `limit`, which fill the low bits of a lane.
struct ToIntegers {
  float scale;
  F32x16 inverse;
  ToIntegers(float largest, float limit) {
    const bool zero = largest < kSmallestQuantized;
    scale = zero ? 0.0f : largest / limit;
    inverse = splat(zero ? 0.0f : limit / largest);
  }
  I32x16 operator()(const F32x16& x) const { return as_bits(fma(x, inverse, splat(kRoundToInt))); }
};

// Blocks of bytes with a scale each, which meet queries and weights of 16 bits (see attention_q8_0.h).
struct KvQ8_0 {
  static constexpr DataType kType = DataType::kQ8_0;
  static constexpr int kOperandBytes = 32;     // of a step: pairs of dimensions, or of keys
  static constexpr float kLargest = 32767.0f;  // of a query or weight

  // The keys of one tile.
  struct Keys {
    const std::byte* tile;
    const float* scales;
    Keys(const std::byte* chunk, int head_dim, int index) {
      const auto blocks = static_cast<int>(kv_blocks(head_dim));
      scales = reinterpret_cast<const float*>(chunk) + index * blocks * kTileKeys;
      tile = chunk + kChunkKeys * blocks * sizeof(float) + index * ((head_dim + 1) / 2) * kOperandBytes;
    }
  };
  // The values of one tile.
  struct Values {
    const std::byte* tile;
    const float* scales;
    Values(const std::byte* values, int head_dim, int index) {
      scales = reinterpret_cast<const float*>(values) + index / (kBlock / 16) * kChunkKeys;
      tile = values + kChunkKeys * kv_blocks(head_dim) * sizeof(float) + index * (kChunkKeys / 2) * kOperandBytes;
    }
  };

  // A prepared query: its scale, and then the numbers.
  static const int16_t* numbers(const float* query) { return reinterpret_cast<const int16_t*>(query + 1); }

  static void prepare_query(const float* q, float scale, int head_dim, float* out) {
    F32x16 magnitude = splat(0.0f);
    for (int d = 0; d < head_dim; d += 16) magnitude = max(abs(load_first(q + d, lanes_left(head_dim, d))), magnitude);
    const ToIntegers rounded(max_lane(magnitude) * scale, kLargest);
    out[0] = rounded.scale;
    auto* to = reinterpret_cast<std::byte*>(out + 1);
    for (int d = 0; d < head_dim; d += 16) {
      const int left = lanes_left(head_dim, d);
      alignas(64) std::byte row[32];
      store_high_halves(row, shift_left<16>(rounded(load_first(q + d, left) * splat(scale))));
      copy_bytes(to + 2 * d, row, 2 * left + 2 * (left % 2));
    }
  }

  // Values [n] of one block -> int8 [kBlock]; the scale is returned.
  static float quantize_block(const float* x, int n, int8_t* out) {
    const F32x16 low = load_first(x, n < 16 ? n : 16), high = n > 16 ? load_first(x + 16, n - 16) : splat(0.0f);
    const ToIntegers rounded(max_lane(max(abs(low), abs(high))), 127.0f);
    store_low_bytes(out, rounded(low));
    store_low_bytes(out + 16, rounded(high));
    return rounded.scale;
  }

  static void store_token(const float* key, const float* value, int head_dim, int slot, std::byte* chunk) {
    const auto blocks = static_cast<int>(kv_blocks(head_dim));
    const int tile = slot / kTileKeys, lane = slot % kTileKeys;
    std::byte* values = chunk + kv_keys_bytes(kType, head_dim);
    auto* key_scales = reinterpret_cast<float*>(chunk) + tile * blocks * kTileKeys + lane;
    auto* value_scales = reinterpret_cast<float*>(values) + slot;
    auto* key_pairs = reinterpret_cast<int8_t*>(chunk + kChunkKeys * blocks * sizeof(float)) +  //
                      tile * ((head_dim + 1) / 2) * kOperandBytes + lane * 2;
    auto* value_pairs = reinterpret_cast<int8_t*>(values + kChunkKeys * blocks * sizeof(float)) +  //
                        slot / 2 * kOperandBytes + slot % 2;
    for (int b = 0; b < blocks; ++b) {
      const int first = b * kBlock, n = head_dim - first < kBlock ? head_dim - first : kBlock;
      int8_t row[kBlock];
      key_scales[b * kTileKeys] = quantize_block(key + first, n, row);
      for (int i = 0; i < n + n % 2; ++i) key_pairs[(first + i) / 2 * kOperandBytes + i % 2] = row[i];
      value_scales[b * kChunkKeys] = quantize_block(value + first, n, row);
      for (int i = 0; i < n; i += 16) {
        int8_t* to = value_pairs + (first + i) / 16 * (kChunkKeys / 2) * kOperandBytes;
        for (int j = 0; j < 16; ++j) to[2 * j] = row[i + j];
      }
    }
  }
};

// Keys, values, queries and weights rounded to bfloat16, products summed in f32, two at a time: one instruction where
// there is one, the same operations elsewhere. What is done with them is in attention_pairs.h.
struct KvBF16 {
  static constexpr DataType kType = DataType::kBF16;
  static constexpr int kOperandBytes = 64;
  // Numbers below 2^-50 become zero: then no product or sum is ever subnormal, which the instruction would flush.
  static F32x16 without_tiny(const F32x16& a) { return select(less(abs(a), splat(0x1p-50f)), splat(0.0f), a); }

  static void prepare_query(const float* q, float scale, int head_dim, float* out) {
    auto* to = reinterpret_cast<std::byte*>(out);
    for (int d = 0; d < head_dim; d += 16) {
      const int left = lanes_left(head_dim, d);
      alignas(64) std::byte row[32];
      store_bf16(row, without_tiny(load_first(q + d, left) * splat(scale * kScoreUnits)));
      copy_bytes(to + 2 * d, row, left == 16 ? 32 : 4 * ((left + 1) / 2));
    }
  }

  static void store_token(const float* key, const float* value, int head_dim, int slot, std::byte* chunk) {
    std::byte* keys = chunk + slot / kTileKeys * ((head_dim + 1) / 2) * kOperandBytes + slot % kTileKeys * 4;
    std::byte* values = chunk + kv_keys_bytes(kType, head_dim) + slot / 2 * kOperandBytes + slot % 2 * 2;
    for (int d = 0; d < head_dim; d += 16) {
      const int left = lanes_left(head_dim, d);
      alignas(64) std::byte row[32];
      if (key != nullptr) {
        store_bf16(row, without_tiny(load_first(key + d, left)));
        for (int i = 0; i < left; i += 2) copy_bytes(keys + (d + i) / 2 * kOperandBytes, row + 2 * i, 4);
      }
      store_bf16(row, without_tiny(load_first(value + d, left)));
      std::byte* to = values + d / 16 * (kChunkKeys / 2) * kOperandBytes;
      for (int i = 0; i < 16; ++i) copy_bytes(to + 4 * i, row + 2 * i, 2);
    }
  }
};

}  // namespace
}  // namespace t5g::kernels
