// Products of Q8_0 keys and values: of whole numbers, two at a time.
//
// A query is rounded to 16 bits, and so are a row's weights times the scales of a block of values: that errs by less
// than a hundredth of what the bytes do. A block's sum is exact, so its order makes no difference, and takes half as
// many instructions as floats, into which bytes would have to be turned first.
#pragma once

#include "kernels/cpu/common/attention.h"

namespace t5g::kernels {
namespace {

template <>
struct Products<KvQ8_0> {
  // Vectors of one block together, which share their weights. A last one alone is taken twice, and written once.
  static constexpr int kValueVectors = kBlock / 16;
  static constexpr bool kAnyNumberOfVectors = true;
  static constexpr int kValueRows =
      Tiles::kValueRows > 1 ? Tiles::kValueRows * Tiles::kValueVectors / kValueVectors : 1;

  template <int kRows, int kTiles>
  static void scores(const AttendArgs& args, int row, int tile, float* scores) {
    const KvQ8_0::Keys keys(args.chunks[0], args.head_dim, tile),
        last(args.chunks[0], args.head_dim, tile + kTiles - 1);
    static_assert(kTiles <= 2);
    F32x16 sums[kRows][kTiles];
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      T5G_UNROLL
      for (int t = 0; t < kTiles; ++t) sums[r][t] = splat(0.0f);
    }
    Prefetch ahead(args, row, keys.tile - args.chunks[0]);
    const int16_t* q[kRows];
    for (int r = 0; r < kRows; ++r) q[r] = KvQ8_0::numbers(args.q[row + r]);
    const int n_pairs = (args.head_dim + 1) / 2;
    for (int first = 0, block = 0; first < n_pairs; first += kBlock / 2, ++block) {
      const int end = first + kBlock / 2 < n_pairs ? first + kBlock / 2 : n_pairs;
      I32x16 dots[kRows][kTiles];
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) {
        T5G_UNROLL
        for (int t = 0; t < kTiles; ++t) dots[r][t] = splat(0);
      }
      for (int pair = first; pair < end; ++pair) {
        ahead.step<kTiles * KvQ8_0::kOperandBytes>();
        const I16x32 k[2] = {load_i8_pairs(keys.tile + pair * KvQ8_0::kOperandBytes),
                             load_i8_pairs(last.tile + pair * KvQ8_0::kOperandBytes)};
        T5G_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const I16Pair x = load_pair(q[r] + 2 * pair);
          T5G_UNROLL
          for (int t = 0; t < kTiles; ++t) dots[r][t] = dot_pairs(dots[r][t], k[t], x);
        }
      }
      ahead.line(keys.scales + block * kTileKeys);
      ahead.line(last.scales + block * kTileKeys);
      const F32x16 scale[2] = {load(keys.scales + block * kTileKeys), load(last.scales + block * kTileKeys)};
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) {
        T5G_UNROLL
        for (int t = 0; t < kTiles; ++t) sums[r][t] = fma(to_float(dots[r][t]), scale[t], sums[r][t]);
      }
    }
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F32x16 scale = splat(args.q[row + r][0]);
      T5G_UNROLL
      for (int t = 0; t < kTiles; ++t) store(scores + r * kChunkKeys + (tile + t) * kTileKeys, sums[r][t] * scale);
    }
  }

  template <int kRows, int kVectors>
  static void values(const AttendArgs& args, int row, int vector, const float* weights) {
    const std::byte* base = args.chunks[0] + kv_keys_bytes(KvQ8_0::kType, args.head_dim);
    static_assert(kVectors == 2);
    const int n_vectors = 16 * (vector + 1) < args.head_dim ? 2 : 1;
    const KvQ8_0::Values first(base, args.head_dim, vector), last(base, args.head_dim, vector + n_vectors - 1);
    alignas(64) int16_t numbers[kRows][kChunkKeys];
    float scale[kRows];
    for (int r = 0; r < kRows; ++r) scale[r] = scaled_weights(weights + r * kChunkKeys, first.scales, numbers[r]);
    I32x16 dots[kRows][kVectors];
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      T5G_UNROLL
      for (int c = 0; c < kVectors; ++c) dots[r][c] = splat(0);
    }
    const KeyRange keys = visible_to_any(args, row, kRows);
    Prefetch ahead(args, row, first.tile - args.chunks[0]);
    for (int key = 0; key < kChunkKeys; key += 16) ahead.line(first.scales + key);
    for (int pair = keys.begin / 2; 2 * pair < keys.end; ++pair) {
      ahead.step<kVectors * KvQ8_0::kOperandBytes>();
      const I16x32 v[2] = {load_i8_pairs(first.tile + pair * KvQ8_0::kOperandBytes),
                           load_i8_pairs(last.tile + pair * KvQ8_0::kOperandBytes)};
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const I16Pair w = load_pair(numbers[r] + 2 * pair);
        T5G_UNROLL
        for (int c = 0; c < kVectors; ++c) dots[r][c] = dot_pairs(dots[r][c], v[c], w);
      }
    }
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      float* acc = args.acc + (row + r) * acc_stride(args.head_dim) + 16 * vector;
      store(acc, to_float(dots[r][0]) * splat(scale[r]));
      if (n_vectors > 1) store(acc + 16, to_float(dots[r][1]) * splat(scale[r]));
    }
  }

 private:
  // Weights [kChunkKeys] times the values' scales -> whole numbers; their scale is returned.
  static float scaled_weights(const float* weights, const float* scales, int16_t* out) {
    constexpr int kVectors = kChunkKeys / 16;
    F32x16 x[kVectors];  // not below zero
    T5G_UNROLL
    for (int i = 0; i < kVectors; ++i) x[i] = load(weights + 16 * i) * load(scales + 16 * i);
    static_assert(kVectors == 4);
    const ToIntegers rounded(max_lane(max(max(x[0], x[1]), max(x[2], x[3]))), KvQ8_0::kLargest);
    T5G_UNROLL
    for (int i = 0; i < kVectors; ++i)
      store_high_halves(reinterpret_cast<std::byte*>(out + 16 * i), shift_left<16>(rounded(x[i])));
    return rounded.scale;
  }
};

}  // namespace
}  // namespace t5g::kernels
