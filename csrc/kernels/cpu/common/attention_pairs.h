// Attention of an encoder's many rows over a part of several chunks, for products of pairs (KvBF16).
//
// Sixteen query rows are the lanes of a register, and keys and values are broadcast. So no column is padded, and
// nothing is summed or compared across lanes.
//
// Scores and results are both sums over pairs, of dimensions or of keys, and a few pairs are added at a time, for all
// rows and keys or columns: as many as let queries and operands stay in the first cache, ready to be multiplied.
#pragma once

#include "kernels/cpu/common/kv_formats.h"
#include "kernels/cpu/common/pair_block.h"
#include "kernels/cpu/common/unroll.h"

namespace t5g::kernels {
namespace {

// An operand is a pair of dimensions of a key, or of two keys' values of a column. kPairOperands of 16 are summed at
// once, a power of two and at least the four keys whose scores become weights together; and kScoreSteps pairs of
// dimensions: 32 KB of queries. With twice as many floats it took 1 to 2 % longer.
constexpr int kScoreSteps = 128 / kPairFloats;
static_assert(kPairOperands % 4 == 0 && kTileKeys % kPairOperands == 0);

// sums[i][v] += operand i of every step * rows of every step: the one broadcast, the other of kVectors.
// Inlined by force: as a function of its own it keeps the sums in memory.
template <int kVectors>
[[gnu::always_inline]] inline void add_products(const float* operands, const float* rows, int n,
                                                F32x16 (&sums)[kPairOperands][kVectors]) {
  for (int step = 0; step < n; ++step, operands += 16 * kPairFloats, rows += kPairLine) {
    Pairs x[kVectors];
    T5G_UNROLL
    for (int v = 0; v < kVectors; ++v) x[v] = load_rows(rows + 16 * kPairFloats * v);
    T5G_UNROLL
    for (int i = 0; i < kPairOperands; ++i) {
      const Pairs y = splat_operand(operands + kPairFloats * i);
      T5G_UNROLL
      for (int v = 0; v < kVectors; ++v) sums[i][v] = fma_pairs(x[v], y, sums[i][v]);
    }
  }
}

// Adds the products of some steps to columns [begin, end) of sixteen, which hold a number of each row, or begins them
// so. Both ends are multiples of kPairOperands.
template <int kVectors, bool kBegin>
void add_columns(float* columns, const float* operands, const float* rows, int steps, int begin, int end) {
  for (int i = begin; i < end; i += kPairOperands) {
    float* sums_at = columns + i * kPairRows;
    F32x16 sums[kPairOperands][kVectors];
    T5G_UNROLL
    for (int j = 0; j < kPairOperands; ++j) {
      T5G_UNROLL
      for (int v = 0; v < kVectors; ++v) sums[j][v] = kBegin ? splat(0.0f) : load(sums_at + j * kPairRows + 16 * v);
    }
    add_products<kVectors>(operands + kPairFloats * i, rows, steps, sums);
    T5G_UNROLL
    for (int j = 0; j < kPairOperands; ++j) {
      T5G_UNROLL
      for (int v = 0; v < kVectors; ++v) store(sums_at + j * kPairRows + 16 * v, sums[j][v]);
    }
  }
}

// Soft-capped, and -infinity for rows that do not see the key.
inline F32x16 visible_score(const PairBlock& block, int first, int key, F32x16 score) {
  if (block.args.softcap > 0) score = soft_cap(score, splat(block.args.softcap * kScoreUnits));
  const F32x16 at = splat(static_cast<float>(key));
  score = select(less(at, load(block.end + first)), score, splat(-kInfinity));
  return select(less(at, load(block.begin + first)), splat(-kInfinity), score);
}

// Scores of two keys become weights. Returns the sum with these.
template <bool kPlain>
F32x16 store_weights(F32x16 even, F32x16 odd, F32x16 reference, F32x16 sum, float* to) {
  F32x16 even_bits = even_weight(even - reference), odd_bits = even_weight(odd - reference);
  if constexpr (!kPlain) {
    even_bits = select(less(splat(-kInfinity), even), even_bits, splat(kNoWeight));
    odd_bits = select(less(splat(-kInfinity), odd), odd_bits, splat(kNoWeight));
  }
  const Pairs weights = pair_weights(even_bits, odd_bits);
  store_rows(to, weights);
  return fma_pairs(weights, as_pairs(splat(0x3f803f80)), sum);  // times one
}

// Scores of four keys, the chunk's `key` and those after it, become weights of the sixteen rows that begin with `row`.
// The chunk begins with the part's key `first`. kPlain: there is no soft cap, and all rows see the keys.
template <bool kPlain>
void weigh(PairBlock& block, int first, int key, int row) {
  F32x16 scores[4];
  T5G_UNROLL
  for (int i = 0; i < 4; ++i) {
    scores[i] = load(block.scores + (key + i) * kPairRows + row);
    if constexpr (!kPlain) scores[i] = visible_score(block, row, first + key + i, scores[i]);
  }
  const F32x16 top = max(max(scores[0], scores[1]), max(scores[2], scores[3]));
  if (any(less(load(block.limit + row), top))) raise(block, row, top);
  const F32x16 reference = load(block.reference + row);
  float* weights = block.weights_of(row / 16, key);
  F32x16 sum = load(block.sum + row);
  sum = store_weights<kPlain>(scores[0], scores[1], reference, sum, weights);
  store(block.sum + row, store_weights<kPlain>(scores[2], scores[3], reference, sum, weights + kPairLine));
}

constexpr int round_up_to_operands(int n) { return (n + kPairOperands - 1) / kPairOperands * kPairOperands; }

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
  const int bytes = static_cast<int>(kv_head_bytes(KvBF16::kType, head_dim)) / (kChunkKeys / kTileKeys);
  chunk += key / kTileKeys * bytes;
  for (int i = 0; i < bytes; i += 64) __builtin_prefetch(chunk + i, 0, 2);
}

// The products of queries with the chunk's keys [begin, end).
inline void add_scores(PairBlock& block, const std::byte* chunk, const std::byte* next, int begin, int end) {
  for (int step = 0; step < block.steps; step += kScoreSteps) {
    const int steps = block.steps - step < kScoreSteps ? block.steps - step : kScoreSteps;
    for (int tile = begin / kTileKeys * kTileKeys; tile < end; tile += kTileKeys) {
      if (step == 0) prefetch_keys(next, tile, block.args.head_dim);
      const std::byte* from = chunk + (tile / kTileKeys * block.steps + step) * KvBF16::kOperandBytes;
      const float* operands = operands_of(from, steps, block.operands);
      const int first = begin > tile ? begin - tile : 0, last = end - tile < kTileKeys ? end - tile : kTileKeys;
      for_vectors<kPairVectors>(0, block.vectors(), [&]<int kVectors>(int vector) {
        float* scores = block.scores + tile * kPairRows + 16 * vector;
        const float* queries = block.queries_of(vector) + step * kPairLine;
        step == 0 ? add_columns<kVectors, true>(scores, operands, queries, steps, first, last)
                  : add_columns<kVectors, false>(scores, operands, queries, steps, first, last);
      });
    }
  }
}

// The same of int8: all queries are the outputs of a matrix product, and the keys its rows.
inline void multiply_int8_keys(PairBlock& block, const std::byte* chunk, const std::byte* next, int begin, int end) {
  for (int tile = 0; tile < kChunkKeys; tile += kTileKeys) prefetch_keys(next, tile, block.args.head_dim);
  const Int8Keys keys(const_cast<std::byte*>(chunk), block.args.head_dim);
  MatmulArgs args = {};
  args.weight = reinterpret_cast<const std::byte*>(block.queries);
  args.group_end = block.vectors();
  args.n = 16 * args.group_end;
  args.k = keys.padded;
  args.m = end - begin;
  args.x_q = keys.rows(begin);
  args.y = block.scores + begin * kPairRows;
  args.ldy = kPairRows;
  block.args.multiply_int8(args);
}

// The chunk's keys from `begin` on that some row sees become weights. Returns where they end.
inline int weigh_chunk(PairBlock& block, const VisibleKeys& keys, const std::byte* chunk, const std::byte* next,
                       int first, int begin) {
  const int seen = keys.end - first < kChunkKeys ? keys.end - first : kChunkKeys;
  const int end = round_up_to_operands(seen);
  block.args.multiply_int8 != nullptr ? multiply_int8_keys(block, chunk, next, begin, end)
                                      : add_scores(block, chunk, next, begin, end);
  for (int key = begin; key < end; key += 4) {
    const bool seen_by_all = first + key >= keys.all_begin && first + key + 4 <= keys.all_end;
    const bool plain = seen_by_all && !(block.args.softcap > 0);
    for (int row = 0; row < block.rows; row += 16)
      plain ? weigh<true>(block, first, key, row) : weigh<false>(block, first, key, row);
  }
  return end;
}

// Adds the chunk's values of keys [begin, end), which are even, times their weights. values: those of key `begin`.
inline void add_values(PairBlock& block, const std::byte* values, int begin, int end) {
  const int head_dim = block.args.head_dim, steps = (end - begin) / 2;
  for (int column = 0; column < head_dim; column += 16, values += kChunkKeys / 2 * KvBF16::kOperandBytes) {
    const float* operands = operands_of(values, steps, block.operands);
    const int last = round_up_to_operands(head_dim - column < 16 ? head_dim - column : 16);
    for_vectors<kPairVectors>(0, block.vectors(), [&]<int kVectors>(int vector) {
      float* acc = block.acc + column * kPairRows + 16 * vector;
      add_columns<kVectors, false>(acc, operands, block.weights_of(vector, begin), steps, 0, last);
    });
  }
}

inline void walk_keys(PairBlock& block, const VisibleKeys& keys) {
  const int head_dim = block.args.head_dim;
  for (int i = 0; i < acc_stride(head_dim) * kPairRows; i += 16) store(block.acc + i, splat(0.0f));
  for (float& sum : block.sum) sum = 0.0f;
  for (int first = keys.begin / kChunkKeys * kChunkKeys; first < keys.end; first += kChunkKeys) {
    const std::byte* chunk = block.args.chunks[first / kChunkKeys];
    const std::byte* next = first + kChunkKeys < keys.end ? block.args.chunks[first / kChunkKeys + 1] : block.args.next;
    const int begin = keys.begin > first ? (keys.begin - first) / kPairOperands * kPairOperands : 0;
    const int end = weigh_chunk(block, keys, chunk, next, first, begin);
    const std::byte* values = chunk + kv_keys_bytes(KvBF16::kType, head_dim) + begin / 2 * KvBF16::kOperandBytes;
    add_values(block, values, begin, end);
  }
}

inline void attend_pairs(const AttendArgs& args) {
  for (int row = 0; row < args.rows; row += kPairRows) {
    PairBlock block(args, row);
    args.multiply_int8 != nullptr ? load_int8_queries(block) : load_queries(block);
    const VisibleKeys keys = find_visible(block);
    walk_keys(block, keys);
    if (raise_references(block)) walk_keys(block, keys);
    store_results(block);
  }
}

}  // namespace
}  // namespace t5g::kernels
