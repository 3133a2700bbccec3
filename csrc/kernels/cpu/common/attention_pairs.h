// Attention of an encoder's many rows over a part of several chunks, for products of pairs (KvBF16).
//
// Sixteen query rows are the lanes of a register, and keys and values are broadcast. So no column is padded, nothing is
// summed or compared across lanes, and scores become weights in the registers they were summed in: with the image
// tower's 72 dimensions 95 % of the time is products. With keys as lanes it was 67 %.
#pragma once

#include "kernels/cpu/common/kv_formats.h"
#include "kernels/cpu/common/pair_block.h"
#include "kernels/cpu/common/unroll.h"

namespace t5g::kernels {
namespace {

constexpr int kQuad = 4;  // keys, or columns of values, summed at once

// Soft-capped, and -infinity for rows that do not see the key.
inline F32x16 visible_score(const PairBlock& block, int first, int key, F32x16 score) {
  if (block.args.softcap > 0) score = soft_cap(score, splat(block.args.softcap * kScoreUnits));
  const F32x16 at = splat(static_cast<float>(key));
  score = select(less(at, load(block.end + first)), score, splat(-kInfinity));
  return select(less(at, load(block.begin + first)), splat(-kInfinity), score);
}

inline Pairs load_pairs(const float* from) { return load_pairs(reinterpret_cast<const std::byte*>(from)); }

// Scores of two keys become weights, which are added to the sum.
template <bool kPlain>
F32x16 store_weights(F32x16 even, F32x16 odd, F32x16 reference, F32x16 sum, float* to) {
  F32x16 even_bits = even_weight(even - reference), odd_bits = even_weight(odd - reference);
  if constexpr (!kPlain) {
    even_bits = select(less(splat(-kInfinity), even), even_bits, splat(kNoWeight));
    odd_bits = select(less(splat(-kInfinity), odd), odd_bits, splat(kNoWeight));
  }
  const uint32_t ones = 0x3f803f80u;
  return fma_pairs(pair_weights(even_bits, odd_bits, reinterpret_cast<std::byte*>(to)),
                   splat_pair(reinterpret_cast<const std::byte*>(&ones)), sum);
}

// sums[i][v] += operand i of every step * lines of every step: i broadcast, v of kVectors of rows.
template <int kVectors>
void add_products(const std::byte* operands, const float* lines, int n, F32x16 (&sums)[kQuad][kVectors]) {
  for (int step = 0; step < n; ++step, operands += KvBF16::kOperandBytes, lines += kPairRows) {
    Pairs x[kVectors];
    T5G_UNROLL
    for (int v = 0; v < kVectors; ++v) x[v] = load_pairs(lines + 16 * v);
    T5G_UNROLL
    for (int i = 0; i < kQuad; ++i) {
      const Pairs y = splat_pair(operands + 4 * i);
      T5G_UNROLL
      for (int v = 0; v < kVectors; ++v) sums[i][v] = fma_pairs(x[v], y, sums[i][v]);
    }
  }
}

// Weights of four keys, the chunk's `key` and those after it, for kVectors of rows. The chunk begins with the part's
// key `first_key`. kPlain: there is no soft cap, and all rows see the keys.
template <int kVectors, bool kPlain>
void weigh_keys(PairBlock& block, const std::byte* chunk, int first_key, int key, int vector) {
  F32x16 scores[kQuad][kVectors];
  T5G_UNROLL
  for (int i = 0; i < kQuad; ++i) {
    T5G_UNROLL
    for (int v = 0; v < kVectors; ++v) scores[i][v] = splat(0.0f);
  }
  const std::byte* keys = chunk + key / kTileKeys * block.steps * KvBF16::kOperandBytes + key % kTileKeys * 4;
  add_products<kVectors>(keys, block.queries + 16 * vector, block.steps, scores);
  T5G_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const int row = 16 * (vector + v);
    if constexpr (!kPlain) {
      for (int i = 0; i < kQuad; ++i) scores[i][v] = visible_score(block, row, first_key + key + i, scores[i][v]);
    }
    const F32x16 top = max(max(scores[0][v], scores[1][v]), max(scores[2][v], scores[3][v]));
    if (any(less(load(block.limit + row), top))) raise(block, row, top);
    const F32x16 reference = load(block.reference + row);
    float* weights = block.weights + key / 2 * kPairRows + row;
    F32x16 sum = load(block.sum + row);
    sum = store_weights<kPlain>(scores[0][v], scores[1][v], reference, sum, weights);
    sum = store_weights<kPlain>(scores[2][v], scores[3][v], reference, sum, weights + kPairRows);
    store(block.sum + row, sum);
  }
}

// Adds the values of the chunk's keys [begin, end), which are even, times their weights.
template <int kVectors>
void add_values(PairBlock& block, const std::byte* chunk, int begin, int end, int vector) {
  const std::byte* values = chunk + kv_keys_bytes(KvBF16::kType, block.args.head_dim);
  for (int column = 0; column < block.args.head_dim; column += kQuad) {
    float* acc = block.acc + column * kPairRows + 16 * vector;
    F32x16 sums[kQuad][kVectors];
    T5G_UNROLL
    for (int i = 0; i < kQuad; ++i) {
      T5G_UNROLL
      for (int v = 0; v < kVectors; ++v) sums[i][v] = load(acc + i * kPairRows + 16 * v);
    }
    const int operand = column / 16 * (kChunkKeys / 2) + begin / 2;
    add_products<kVectors>(values + operand * KvBF16::kOperandBytes + column % 16 * 4,
                           block.weights + begin / 2 * kPairRows + 16 * vector, (end - begin) / 2, sums);
    T5G_UNROLL
    for (int i = 0; i < kQuad; ++i) {
      T5G_UNROLL
      for (int v = 0; v < kVectors; ++v) store(acc + i * kPairRows + 16 * v, sums[i][v]);
    }
  }
}

// Calls body<vectors>(first vector) for the vectors [vector, end), kVectors at a time, then fewer.
template <int kVectors, typename Body>
void for_vectors(int vector, int end, const Body& body) {
  for (; vector + kVectors <= end; vector += kVectors) body.template operator()<kVectors>(vector);
  if constexpr (kVectors > 1) {
    if (vector < end) for_vectors<kVectors / 2>(vector, end, body);
  }
}

// The share of a chunk that belongs to four of its keys is fetched into the second cache. null: nothing is.
inline void prefetch_quad(const std::byte* chunk, int key, int head_dim) {
  if (chunk == nullptr) return;
  const int bytes = static_cast<int>(kv_head_bytes(KvBF16::kType, head_dim)) / (kChunkKeys / kQuad);
  chunk += key / kQuad * bytes;
  for (int i = 0; i < bytes; i += 64) __builtin_prefetch(chunk + i, 0, 2);
}

inline void walk_keys(PairBlock& block, const VisibleKeys& keys) {
  const int vectors = (block.rows + 15) / 16;
  for (int i = 0; i < acc_stride(block.args.head_dim) * kPairRows; i += 16) store(block.acc + i, splat(0.0f));
  for (float& sum : block.sum) sum = 0.0f;
  for (int first = keys.begin / kChunkKeys * kChunkKeys; first < keys.end; first += kChunkKeys) {
    const std::byte* chunk = block.args.chunks[first / kChunkKeys];
    const std::byte* next = first + kChunkKeys < keys.end ? block.args.chunks[first / kChunkKeys + 1] : block.args.next;
    const int begin = keys.begin > first ? (keys.begin - first) / kQuad * kQuad : 0;
    int key = begin;
    for (; key < kChunkKeys && first + key < keys.end; key += kQuad) {
      prefetch_quad(next, key, block.args.head_dim);
      const bool seen_by_all = first + key >= keys.all_begin && first + key + kQuad <= keys.all_end;
      const bool plain = seen_by_all && !(block.args.softcap > 0);
      for_vectors<Tiles::kPairVectors>(0, vectors, [&]<int kVectors>(int vector) {
        plain ? weigh_keys<kVectors, true>(block, chunk, first, key, vector)
              : weigh_keys<kVectors, false>(block, chunk, first, key, vector);
      });
    }
    for_vectors<Tiles::kPairVectors>(
        0, vectors, [&]<int kVectors>(int vector) { add_values<kVectors>(block, chunk, begin, key, vector); });
  }
}

inline void attend_pairs(const AttendArgs& args) {
  for (int row = 0; row < args.rows; row += kPairRows) {
    PairBlock block(args, row);
    load_queries(block);
    const VisibleKeys keys = find_visible(block);
    walk_keys(block, keys);
    if (raise_references(block)) walk_keys(block, keys);
    store_results(block);
  }
}

}  // namespace
}  // namespace t5g::kernels
