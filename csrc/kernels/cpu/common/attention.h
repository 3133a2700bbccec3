// Attention of query rows over one chunk of keys, for the types whose chunks have a result each.
//
// Rows are taken a few at a time, so that a key or value in a register serves them all; what is computed for a row does
// not depend on the rows beside it: they only decide which keys outside its own range are passed over with weight zero.
#pragma once

#include "kernels/cpu/common/kv_formats.h"
#include "kernels/cpu/common/unroll.h"
#include "kernels/cpu/kernels.h"

namespace t5g::kernels {
namespace {

constexpr int kMaxRows = 64;  // rows with scores in memory at once
constexpr int kTilesPerChunk = kChunkKeys / kTileKeys;

struct KeyRange {
  int begin, end;
  bool empty() const { return begin >= end; }
};

inline KeyRange visible(const AttendArgs& args, int row) {
  if (args.begin == nullptr) return {0, args.n_keys};
  const int begin = args.begin[row] > 0 ? args.begin[row] : 0;
  const int end = args.end[row] < kChunkKeys ? args.end[row] : kChunkKeys;
  return {begin, end};
}

// The smallest range that holds those of the rows [row, row + n).
inline KeyRange visible_to_any(const AttendArgs& args, int row, int n) {
  if (args.begin == nullptr) return {0, args.n_keys};
  KeyRange all{kChunkKeys, 0};
  for (int r = row; r < row + n; ++r) {
    const KeyRange range = visible(args, r);
    if (range.empty()) continue;
    if (range.begin < all.begin) all.begin = range.begin;
    if (range.end > all.end) all.end = range.end;
  }
  return all;
}

// The next chunk is fetched into the second cache while this one is worked on, at the same pace: the first rows ask for
// as many bytes as they read. Few rows would otherwise wait for memory: at 4096 keys it came at a quarter of its speed.
class Prefetch {
 public:
  // offset: in the chunk, of what is read now.
  Prefetch(const AttendArgs& args, int row, int64_t offset)
      : wanted_(row == 0 && args.next != nullptr),
        at_(wanted_ ? args.next + offset : args.chunks[0]),
        next_(wanted_ ? args.next - args.chunks[0] : 0) {}
  template <int kBytes>
  void step() {
    T5G_UNROLL
    for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(at_ + i, 0, 2);
    at_ += wanted_ ? kBytes : 0;
  }
  // The line that lies in the next chunk as this one does in its own.
  void line(const void* of_this) const { __builtin_prefetch(static_cast<const std::byte*>(of_this) + next_, 0, 2); }

 private:
  const bool wanted_;
  const std::byte* at_;
  const std::ptrdiff_t next_;
};

constexpr int fewer(int n) { return n > 4 ? 4 : n / 2; }

// The products of a format with queries and weights, for as many rows, tiles of keys and vectors of 16 columns as there
// are registers for. These are of single numbers; see attention_q8_0.h.
template <typename Format>
struct Products {
  static constexpr int kValueRows = Tiles::kValueRows, kValueVectors = Tiles::kValueVectors;
  static constexpr bool kAnyNumberOfVectors = false;  // whether values() works with fewer, where there are no more

  // scores[r][key] = q[r] . key, for kRows rows and the keys of kTiles tiles.
  template <int kRows, int kTiles>
  static void scores(const AttendArgs& args, int row, int tile, float* scores);

  // acc[r][column ...] = sum over keys of weights[r][key] * values[key][column ...] for kVectors of 16 columns.
  template <int kRows, int kVectors>
  static void values(const AttendArgs& args, int row, int vector, const float* weights);
};

template <typename Format>
template <int kRows, int kTiles>
void Products<Format>::scores(const AttendArgs& args, int row, int tile, float* scores) {
  const float* q[kRows];
  for (int r = 0; r < kRows; ++r) q[r] = args.q[row + r];
  F32x16 sums[kRows][kTiles];
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    T5G_UNROLL
    for (int t = 0; t < kTiles; ++t) sums[r][t] = splat(0.0f);
  }
  const typename Format::Keys first(args.chunks[0], args.head_dim, tile);
  const typename Format::Keys last(args.chunks[0], args.head_dim, tile + kTiles - 1);
  static_assert(kTiles <= 2);
  Prefetch ahead(args, row, int64_t{tile} * args.head_dim * Format::kOperandBytes);
  for (int d = 0; d < args.head_dim; ++d) {
    ahead.step<kTiles * Format::kOperandBytes>();
    const F32x16 k[2] = {first.load(d), last.load(d)};
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F32x16 x = splat(q[r][d]);
      T5G_UNROLL
      for (int t = 0; t < kTiles; ++t) sums[r][t] = fma(x, k[t], sums[r][t]);
    }
  }
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    T5G_UNROLL
    for (int t = 0; t < kTiles; ++t) store(scores + r * kChunkKeys + (tile + t) * kTileKeys, sums[r][t]);
  }
}

template <typename Format>
template <int kRows, int kVectors>
void Products<Format>::values(const AttendArgs& args, int row, int vector, const float* weights) {
  using Values = typename Format::Values;
  F32x16 sums[kRows][kVectors];
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    T5G_UNROLL
    for (int c = 0; c < kVectors; ++c) sums[r][c] = splat(0.0f);
  }
  const std::byte* values = args.chunks[0] + kv_keys_bytes(Format::kType, args.head_dim);
  const KeyRange keys = visible_to_any(args, row, kRows);
  Prefetch ahead(args, row, values - args.chunks[0] + int64_t{vector} * kChunkKeys * Format::kOperandBytes);
  for (int key = keys.begin; key < keys.end; ++key) {
    ahead.step<kVectors * Format::kOperandBytes>();
    F32x16 v[kVectors];
    T5G_UNROLL
    for (int c = 0; c < kVectors; ++c) v[c] = Values(values, args.head_dim, vector + c).load(key);
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F32x16 w = splat(weights[r * kChunkKeys + key]);
      T5G_UNROLL
      for (int c = 0; c < kVectors; ++c) sums[r][c] = fma(w, v[c], sums[r][c]);
    }
  }
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    float* acc = args.acc + (row + r) * acc_stride(args.head_dim) + 16 * vector;
    T5G_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      // A key of weight zero turns a sum of -0 into +0. Whether one was passed over depends on the other rows, so all
      // sums of -0 are made +0.
      store(acc + 16 * c, sums[r][c] + splat(0.0f));
    }
  }
}

// Rows [row, end) of kTiles tiles, kRows at a time, then fewer.
template <typename Format, int kRows, int kTiles>
void score_rows(const AttendArgs& args, int row, int end, int tile, float* scores) {
  for (; row + kRows <= end; row += kRows, scores += kRows * kChunkKeys) {
    const KeyRange keys = visible_to_any(args, row, kRows);
    const int tile_begin = tile * kTileKeys, tile_end = tile_begin + kTiles * kTileKeys;
    if (keys.begin < tile_end && keys.end > tile_begin)
      Products<Format>::template scores<kRows, kTiles>(args, row, tile, scores);
  }
  if constexpr (kRows > 1) {
    if (row < end) score_rows<Format, fewer(kRows), kTiles>(args, row, end, tile, scores);
  }
}

// Soft-caps scores [kChunkKeys] and makes those outside the row's range -infinity.
void mask_row(const AttendArgs& args, KeyRange keys, float* scores) {
  for (int tile = 0; tile < kTilesPerChunk; ++tile) {
    const int first = tile * kTileKeys;
    F32x16 s = splat(-kInfinity);
    if (!keys.empty() && keys.end > first && keys.begin < first + kTileKeys) {
      s = load(scores + first);
      if (args.softcap > 0) s = soft_cap(s, splat(args.softcap));
      s = select(lanes_between(keys.begin - first, keys.end - first), s, splat(-kInfinity));
    }
    store(scores + first, s);
  }
}

// Scores [kChunkKeys] become weights exp(score - max), zero outside the row's range.
inline void softmax_row(const AttendArgs& args, int row, float* scores) {
  const KeyRange keys = visible(args, row);
  if (args.softcap > 0 || keys.begin > 0 || keys.end < kChunkKeys) mask_row(args, keys, scores);
  F32x16 s[kTilesPerChunk];
  T5G_UNROLL
  for (int tile = 0; tile < kTilesPerChunk; ++tile) s[tile] = load(scores + tile * kTileKeys);
  static_assert(kTilesPerChunk == 4);
  const float max_score = max_lane(max(max(s[0], s[1]), max(s[2], s[3])));
  args.max[row] = max_score;
  const F32x16 shift = splat(max_score == -kInfinity ? 0.0f : max_score);
  T5G_UNROLL
  for (int tile = 0; tile < kTilesPerChunk; ++tile) {
    s[tile] = exp_of_nonpositive(s[tile] - shift);
    store(scores + tile * kTileKeys, s[tile]);
  }
  args.sum[row] = sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

template <typename Format, int kRows, int kVectors>
void value_rows(const AttendArgs& args, int row, int end, int vector, const float* weights) {
  for (; row + kRows <= end; row += kRows, weights += kRows * kChunkKeys)
    Products<Format>::template values<kRows, kVectors>(args, row, vector, weights);
  if constexpr (kRows > 1) {
    if (row < end) value_rows<Format, fewer(kRows), kVectors>(args, row, end, vector, weights);
  }
}

// All columns from vector `vector` on, kVectors at a time, then fewer: the values of a few columns stay in the first
// cache for all rows.
template <typename Format, int kVectors>
void value_columns(const AttendArgs& args, int row, int end, int vector, const float* weights) {
  const int n_vectors = (args.head_dim + 15) / 16;
  constexpr bool kAnyNumber = Products<Format>::kAnyNumberOfVectors;
  for (; vector + (kAnyNumber ? 1 : kVectors) <= n_vectors; vector += kVectors)
    value_rows<Format, Products<Format>::kValueRows, kVectors>(args, row, end, vector, weights);
  if constexpr (kVectors > 1 && !kAnyNumber) {
    if (vector < n_vectors) value_columns<Format, fewer(kVectors)>(args, row, end, vector, weights);
  }
}

template <typename Format>
void attend(const AttendArgs& args) {
  alignas(64) float scores[kMaxRows * kChunkKeys];
  for (int row = 0; row < args.rows; row += kMaxRows) {
    const int end = args.rows - row < kMaxRows ? args.rows : row + kMaxRows;
    // Tile by tile: the keys of one tile column stay in the first cache for all rows.
    for (int tile = 0; tile < kTilesPerChunk; tile += Tiles::kScoreTiles)
      score_rows<Format, Tiles::kScoreRows, Tiles::kScoreTiles>(args, row, end, tile, scores);
    for (int r = row; r < end; ++r) softmax_row(args, r, scores + (r - row) * kChunkKeys);
    value_columns<Format, Products<Format>::kValueVectors>(args, row, end, 0, scores);
  }
}

}  // namespace
}  // namespace t5g::kernels
