// Attention of query rows over one chunk of keys, and the merging of chunks.
//
// Rows are taken a few at a time, so that a key or value in a register serves them all; what is computed for a row does
// not depend on the rows beside it: they only decide which keys outside its own range are passed over with weight zero.
#pragma once

#include "kernels/common/math.h"
#include "kernels/common/rows.h"
#include "kernels/common/unroll.h"
#include "kernels/kernels.h"

namespace t5g::kernels {
namespace {

constexpr int kMaxRows = 64;  // rows with scores in memory at once
constexpr int kTilesPerChunk = kChunkKeys / kTileKeys;

struct KeyRange {
  int begin, end;
  bool empty() const { return begin >= end; }
};

inline KeyRange visible(const AttendArgs& args, int row) {
  const int begin = args.begin[row] > 0 ? args.begin[row] : 0;
  const int end = args.end[row] < kChunkKeys ? args.end[row] : kChunkKeys;
  return {begin, end};
}

// The smallest range that holds those of the rows [row, row + n).
inline KeyRange visible_to_any(const AttendArgs& args, int row, int n) {
  KeyRange all{kChunkKeys, 0};
  for (int r = row; r < row + n; ++r) {
    const KeyRange range = visible(args, r);
    if (range.empty()) continue;
    if (range.begin < all.begin) all.begin = range.begin;
    if (range.end > all.end) all.end = range.end;
  }
  return all;
}

// scores[r][key] = q[r] . key, for kRows rows and the keys of Tiles::kScoreTiles tiles.
template <int kRows>
void score_tile(const AttendArgs& args, int row, int tile, float* scores) {
  constexpr int kTiles = Tiles::kScoreTiles;
  const float* q[kRows];
  for (int r = 0; r < kRows; ++r) q[r] = args.q[row + r];
  const int tile_floats = args.head_dim * kTileKeys;
  const float* keys = args.keys + tile * tile_floats;
  F32x16 sums[kRows][kTiles];
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    T5G_UNROLL
    for (int t = 0; t < kTiles; ++t) sums[r][t] = splat(0.0f);
  }
  for (int d = 0; d < args.head_dim; ++d) {
    F32x16 k[kTiles];
    T5G_UNROLL
    for (int t = 0; t < kTiles; ++t) k[t] = load(keys + t * tile_floats + d * kTileKeys);
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

// Rows [row, end) of one tile column, kRows at a time, then fewer.
template <int kRows>
void score_rows(const AttendArgs& args, int row, int end, int tile, float* scores) {
  for (; row + kRows <= end; row += kRows, scores += kRows * kChunkKeys) {
    const KeyRange keys = visible_to_any(args, row, kRows);
    const int tile_begin = tile * kTileKeys, tile_end = tile_begin + Tiles::kScoreTiles * kTileKeys;
    if (keys.begin < tile_end && keys.end > tile_begin) score_tile<kRows>(args, row, tile, scores);
  }
  if constexpr (kRows > 1) {
    if (row < end) score_rows<kRows - 1>(args, row, end, tile, scores);
  }
}

// scores [kChunkKeys] become exp(score - max), zero outside the row's range.
void softmax_row(const AttendArgs& args, int row, float* scores) {
  const KeyRange keys = visible(args, row);
  F32x16 largest = splat(-kInfinity);
  for (int tile = 0; tile < kTilesPerChunk; ++tile) {
    const int first = tile * kTileKeys;
    if (keys.empty() || keys.end <= first || keys.begin >= first + kTileKeys) {
      store(scores + first, splat(-kInfinity));
      continue;
    }
    F32x16 s = load(scores + first);
    if (args.softcap > 0) s = soft_cap(s, splat(args.softcap));
    s = select(lanes_between(keys.begin - first, keys.end - first), s, splat(-kInfinity));
    store(scores + first, s);
    largest = max(s, largest);
  }
  const float max_score = max_lane(largest);
  args.max[row] = max_score;
  const F32x16 shift = splat(max_score == -kInfinity ? 0.0f : max_score);
  F32x16 sum = splat(0.0f);
  for (int tile = 0; tile < kTilesPerChunk; ++tile) {
    const F32x16 e = exp_of_nonpositive(load(scores + tile * kTileKeys) - shift);
    store(scores + tile * kTileKeys, e);
    sum = sum + e;
  }
  args.sum[row] = sum_lanes(sum);
}

// acc[r][column ...] = sum over keys of weights[r][key] * values[key][column ...] for kVectors of 16 columns, or for
// the last `left` columns where kWhole is false.
template <int kRows, int kVectors, bool kWhole>
void value_tile(const AttendArgs& args, int row, KeyRange keys, int column, int left, const float* weights) {
  F32x16 sums[kRows][kVectors];
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    T5G_UNROLL
    for (int c = 0; c < kVectors; ++c) sums[r][c] = splat(0.0f);
  }
  const float* values = args.values + keys.begin * args.head_dim + column;
  for (int key = keys.begin; key < keys.end; ++key, values += args.head_dim) {
    F32x16 v[kVectors];
    T5G_UNROLL
    for (int c = 0; c < kVectors; ++c) v[c] = kWhole ? load(values + 16 * c) : load_first(values, left);
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F32x16 w = splat(weights[r * kChunkKeys + key]);
      T5G_UNROLL
      for (int c = 0; c < kVectors; ++c) sums[r][c] = fma(w, v[c], sums[r][c]);
    }
  }
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    float* acc = args.acc + (row + r) * args.head_dim + column;
    T5G_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      // A key of weight zero turns a sum of -0 into +0. Whether one was passed over depends on the other rows, so all
      // sums of -0 are made +0.
      const F32x16 sum = sums[r][c] + splat(0.0f);
      kWhole ? store(acc + 16 * c, sum) : store_first(acc, sum, left);
    }
  }
}

template <int kRows>
void value_rows(const AttendArgs& args, int row, int end, const float* weights) {
  constexpr int kVectors = Tiles::kValueVectors;
  for (; row + kRows <= end; row += kRows, weights += kRows * kChunkKeys) {
    const KeyRange keys = visible_to_any(args, row, kRows);
    int column = 0;
    for (; column + 16 * kVectors <= args.head_dim; column += 16 * kVectors)
      value_tile<kRows, kVectors, true>(args, row, keys, column, 0, weights);
    for (; column < args.head_dim; column += 16)
      value_tile<kRows, 1, false>(args, row, keys, column, lanes_left(args.head_dim, column), weights);
  }
  if constexpr (kRows > 1) {
    if (row < end) value_rows<kRows - 1>(args, row, end, weights);
  }
}

void attend(const AttendArgs& args) {
  alignas(64) float scores[kMaxRows * kChunkKeys];
  for (int row = 0; row < args.rows; row += kMaxRows) {
    const int end = args.rows - row < kMaxRows ? args.rows : row + kMaxRows;
    // Tile by tile: the keys of one tile column stay in the first cache for all rows.
    for (int tile = 0; tile < kTilesPerChunk; tile += Tiles::kScoreTiles)
      score_rows<Tiles::kScoreRows>(args, row, end, tile, scores);
    for (int r = row; r < end; ++r) softmax_row(args, r, scores + (r - row) * kChunkKeys);
    value_rows<Tiles::kValueRows>(args, row, end, scores);
  }
}

void merge_row(const MergeArgs& args, int row) {
  const float max_state = args.max[row], max_part = args.part_max[row];
  if (max_part == -kInfinity) return;
  const float max_both = max_part > max_state ? max_part : max_state;
  // An empty state has weight e^(-infinity) = 0.
  const F32x16 state_weight = exp_of_nonpositive(splat(max_state - max_both));
  const F32x16 part_weight = exp_of_nonpositive(splat(max_part - max_both));
  args.max[row] = max_both;
  const F32x16 sum = fma(splat(args.sum[row]), state_weight, splat(args.part_sum[row]) * part_weight);
  store_first(args.sum + row, sum, 1);
  float* acc = args.acc + row * args.head_dim;
  const float* part = args.part_acc + row * args.head_dim;
  for (int i = 0; i < args.head_dim; i += 16) {
    const int left = lanes_left(args.head_dim, i);
    const F32x16 weighted = load_first(part + i, left) * part_weight;
    store_first(acc + i, fma(load_first(acc + i, left), state_weight, weighted), left);
  }
}

void merge(const MergeArgs& args) {
  for (int row = 0; row < args.rows; ++row) merge_row(args, row);
}

}  // namespace
}  // namespace t5g::kernels
