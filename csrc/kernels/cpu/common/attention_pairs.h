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

// An operand is a pair of dimensions of a key, or of two keys' values of a column: kPairOperands of 16 are summed at
// once, a power of two and at least the four keys whose scores become weights together.
static_assert(kPairOperands % 4 == 0 && kTileKeys % kPairOperands == 0);

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
// Inlined by force: as a function of its own it keeps the sums in memory.
template <int kVectors>
[[gnu::always_inline]] inline void add_products(const float* operands, const float* lines, int n,
                                                F32x16 (&sums)[kPairOperands][kVectors]) {
  for (int step = 0; step < n; ++step, operands += kOperandFloats, lines += kPairRows) {
    Pairs x[kVectors];
    T5G_UNROLL
    for (int v = 0; v < kVectors; ++v) x[v] = load_pairs(lines + 16 * v);
    T5G_UNROLL
    for (int i = 0; i < kPairOperands; ++i) {
      const Pairs y = splat_operand(operands, i);
      T5G_UNROLL
      for (int v = 0; v < kVectors; ++v) sums[i][v] = fma_pairs(x[v], y, sums[i][v]);
    }
  }
}

// Scores of four keys, the part's key `first` and those after it, become weights of the sixteen rows that begin with
// `row`, in two lines.
template <bool kPlain>
void weigh(PairBlock& block, int first, int row, F32x16 (&scores)[4], float* weights) {
  if constexpr (!kPlain) {
    for (int i = 0; i < 4; ++i) scores[i] = visible_score(block, row, first + i, scores[i]);
  }
  const F32x16 top = max(max(scores[0], scores[1]), max(scores[2], scores[3]));
  if (any(less(load(block.limit + row), top))) raise(block, row, top);
  const F32x16 reference = load(block.reference + row);
  F32x16 sum = load(block.sum + row);
  sum = store_weights<kPlain>(scores[0], scores[1], reference, sum, weights);
  sum = store_weights<kPlain>(scores[2], scores[3], reference, sum, weights + kPairRows);
  store(block.sum + row, sum);
}

// Weights of kPairOperands keys, the chunk's `key` and those after it, for kVectors of rows. operands: those of the
// keys' tile. The chunk begins with the part's key `first_key`. kPlain: there is no soft cap, and all rows see the
// keys.
template <int kVectors, bool kPlain>
void weigh_keys(PairBlock& block, const float* operands, int first_key, int key, int vector) {
  F32x16 scores[kPairOperands][kVectors];
  T5G_UNROLL
  for (int i = 0; i < kPairOperands; ++i) {
    T5G_UNROLL
    for (int v = 0; v < kVectors; ++v) scores[i][v] = splat(0.0f);
  }
  add_products<kVectors>(operands + key % kTileKeys, block.queries + 16 * vector, block.steps, scores);
  T5G_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const int row = 16 * (vector + v);
    T5G_UNROLL
    for (int i = 0; i < kPairOperands; i += 4) {
      F32x16 four[4] = {scores[i][v], scores[i + 1][v], scores[i + 2][v], scores[i + 3][v]};
      weigh<kPlain>(block, first_key + key + i, row, four, block.weights + (key + i) / 2 * kPairRows + row);
    }
  }
}

// Adds the values of the chunk's keys [begin, end), which are even, times their weights: of the sixteen columns from
// `column` on, whose operands these are.
template <int kVectors>
void add_values(PairBlock& block, const float* operands, int column, int begin, int end, int vector) {
  for (int i = 0; i < 16 && column + i < block.args.head_dim; i += kPairOperands) {
    float* acc = block.acc + (column + i) * kPairRows + 16 * vector;
    F32x16 sums[kPairOperands][kVectors];
    T5G_UNROLL
    for (int j = 0; j < kPairOperands; ++j) {
      T5G_UNROLL
      for (int v = 0; v < kVectors; ++v) sums[j][v] = load(acc + j * kPairRows + 16 * v);
    }
    add_products<kVectors>(operands + i, block.weights + begin / 2 * kPairRows + 16 * vector, (end - begin) / 2, sums);
    T5G_UNROLL
    for (int j = 0; j < kPairOperands; ++j) {
      T5G_UNROLL
      for (int v = 0; v < kVectors; ++v) store(acc + j * kPairRows + 16 * v, sums[j][v]);
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

// The share of a chunk that belongs to some of its keys is fetched into the second cache. null: nothing is.
inline void prefetch_keys(const std::byte* chunk, int key, int head_dim) {
  if (chunk == nullptr) return;
  const int bytes = static_cast<int>(kv_head_bytes(KvBF16::kType, head_dim)) / (kChunkKeys / kPairOperands);
  chunk += key / kPairOperands * bytes;
  for (int i = 0; i < bytes; i += 64) __builtin_prefetch(chunk + i, 0, 2);
}

// The chunk's keys from `begin` on that some row sees become weights. Returns where they end.
inline int weigh_chunk(PairBlock& block, const VisibleKeys& keys, const std::byte* chunk, const std::byte* next,
                       int first, int begin) {
  const int head_dim = block.args.head_dim, vectors = (block.rows + 15) / 16;
  const float* operands = nullptr;
  int key = begin;
  for (; key < kChunkKeys && first + key < keys.end; key += kPairOperands) {
    prefetch_keys(next, key, head_dim);
    if (key == begin || key % kTileKeys == 0) {
      const std::byte* tile = chunk + key / kTileKeys * block.steps * KvBF16::kOperandBytes;
      operands = operands_of(tile, block.steps, block.operands);
    }
    const bool seen_by_all = first + key >= keys.all_begin && first + key + kPairOperands <= keys.all_end;
    const bool plain = seen_by_all && !(block.args.softcap > 0);
    for_vectors<kPairVectors>(0, vectors, [&]<int kVectors>(int vector) {
      plain ? weigh_keys<kVectors, true>(block, operands, first, key, vector)
            : weigh_keys<kVectors, false>(block, operands, first, key, vector);
    });
  }
  return key;
}

inline void walk_keys(PairBlock& block, const VisibleKeys& keys) {
  const int head_dim = block.args.head_dim, vectors = (block.rows + 15) / 16;
  for (int i = 0; i < acc_stride(head_dim) * kPairRows; i += 16) store(block.acc + i, splat(0.0f));
  for (float& sum : block.sum) sum = 0.0f;
  for (int first = keys.begin / kChunkKeys * kChunkKeys; first < keys.end; first += kChunkKeys) {
    const std::byte* chunk = block.args.chunks[first / kChunkKeys];
    const std::byte* next = first + kChunkKeys < keys.end ? block.args.chunks[first / kChunkKeys + 1] : block.args.next;
    const int begin = keys.begin > first ? (keys.begin - first) / kPairOperands * kPairOperands : 0;
    const int end = weigh_chunk(block, keys, chunk, next, first, begin);
    const std::byte* values = chunk + kv_keys_bytes(KvBF16::kType, head_dim) + begin / 2 * KvBF16::kOperandBytes;
    for (int column = 0; column < head_dim; column += 16, values += kChunkKeys / 2 * KvBF16::kOperandBytes) {
      const float* operands = operands_of(values, (end - begin) / 2, block.operands);
      for_vectors<kPairVectors>(0, vectors, [&]<int kVectors>(int vector) {
        add_values<kVectors>(block, operands, column, begin, end, vector);
      });
    }
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
