// Attention of query rows over a chunk of latent keys: rows of the encoder's output, which are their own values too.
//
// A row is read for its scores and again for its share of the result, and lies in memory only once: so dimensions are
// the lanes in both. Sixteen sums of scores are brought together at a time, by turning them. What is computed for a
// row of queries does not depend on the rows beside it.
#pragma once

#include "kernels/cpu/common/math.h"
#include "kernels/cpu/common/transpose.h"
#include "kernels/cpu/common/unroll.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/kv_layout.h"

namespace t5g::kernels {
namespace {

constexpr int kMaxLatentRows = 64;  // rows with scores in memory at once

// How a row of each type is read: its vector v, with `left` values of it there.
struct LatentF32 {
  static F32x16 load(const std::byte* row, int v, int, int left) {
    const float* from = reinterpret_cast<const float*>(row) + 16 * v;
    return left >= 16 ? kernels::load(from) : load_first(from, left);
  }
};
struct LatentF16 {
  static F32x16 load(const std::byte* row, int v, int, int) { return load_f16(row + 32 * v); }
};
struct LatentQ8_0 {
  static F32x16 load(const std::byte* row, int v, int padded, int) {
    float scale;
    __builtin_memcpy(&scale, row + padded + v / 2 * 4, sizeof scale);
    return load_i8(row + 16 * v) * splat(scale);
  }
};

// How the rows of a call lie.
struct LatentChunk {
  explicit LatentChunk(const AttendLatentArgs& args)
      : padded(static_cast<int>(round_up(static_cast<size_t>(args.hidden_size), 32))),
        n_vectors((args.hidden_size + 15) / 16),
        keys(args.keys),
        row_bytes(args.row_bytes),
        last(args.n_keys - 1) {}
  // Of keys beyond the last one, which count for nothing, the last is read.
  const std::byte* row(int key) const { return keys + (key < last ? key : last) * row_bytes; }

  const int padded, n_vectors;
  const std::byte* const keys;
  const int64_t row_bytes;
  const int last;
};

// The sixteen products of kRows rows of queries with 16 / kRows keys, kKeys at a time, row after row.
template <typename Rows, int kRows, int kKeys>
F32x16 latent_scores(const AttendLatentArgs& args, const LatentChunk& chunk, int row, int key) {
  constexpr int kKeysOfRow = 16 / kRows;
  I32x16 sums[16];
  for (int first = 0; first < kKeysOfRow; first += kKeys) {
    F32x16 s[kRows][kKeys];
    const std::byte* h[kKeys];
    T5G_UNROLL
    for (int k = 0; k < kKeys; ++k) {
      h[k] = chunk.row(key + first + k);
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) s[r][k] = splat(0.0f);
    }
    for (int v = 0; v < chunk.n_vectors; ++v) {
      const int left = args.hidden_size - 16 * v;
      F32x16 x[kKeys];
      T5G_UNROLL
      for (int k = 0; k < kKeys; ++k) x[k] = Rows::load(h[k], v, chunk.padded, left);
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const F32x16 q = load(args.q[row + r] + 16 * v);
        T5G_UNROLL
        for (int k = 0; k < kKeys; ++k) s[r][k] = fma(q, x[k], s[r][k]);
      }
    }
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      T5G_UNROLL
      for (int k = 0; k < kKeys; ++k) sums[r * kKeysOfRow + first + k] = as_bits(s[r][k]);
    }
  }
  transpose(sums);
  F32x16 lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = as_float(sums[i]);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  }
  return lanes[0];
}

// The shares of some keys in the rows that come next are fetched into the second cache.
inline void prefetch_latent(const AttendLatentArgs& args, int key, int n) {
  if (args.next == nullptr) return;
  const std::byte* next = args.next + key * args.row_bytes;
  for (int64_t i = 0; i < n * args.row_bytes; i += 64) __builtin_prefetch(next + i, 0, 2);
}

// Scores [kChunkKeys] of rows [row, end), kRows at a time, then fewer.
template <typename Rows, int kRows, int kKeys>
void score_latent(const AttendLatentArgs& args, const LatentChunk& chunk, int row, int end, float* scores) {
  constexpr int kKeysOfRow = 16 / kRows;
  for (; row + kRows <= end; row += kRows, scores += kRows * kChunkKeys) {
    for (int key = 0; key < args.n_keys; key += kKeysOfRow) {
      if (row == 0) prefetch_latent(args, key, kKeysOfRow);
      alignas(64) float sixteen[16];
      store(sixteen, latent_scores<Rows, kRows, kKeys>(args, chunk, row, key));
      T5G_UNROLL
      for (int r = 0; r < kRows; ++r)
        __builtin_memcpy(scores + r * kChunkKeys + key, sixteen + r * kKeysOfRow, kKeysOfRow * sizeof(float));
    }
  }
  if constexpr (kRows > 1) {
    if (row < end) score_latent<Rows, kRows / 2, kKeys>(args, chunk, row, end, scores);
  }
}

// Scores [kChunkKeys] become weights exp(score - max), zero behind the last key.
inline void latent_softmax(const AttendLatentArgs& args, int row, float* scores) {
  const float* scales = args.scales == nullptr ? nullptr : args.scales[row];
  F32x16 s[kChunkKeys / 16];
  F32x16 top = splat(-kInfinity);
  for (int i = 0; i < kChunkKeys / 16; ++i) {
    const int left = args.n_keys - 16 * i, n = left < 0 ? 0 : left < 16 ? left : 16;
    s[i] = load_first(scores + 16 * i, n);
    if (scales != nullptr) s[i] = s[i] * load_first(scales + 16 * i, n);
    if (args.softcap > 0) s[i] = soft_cap(s[i], splat(args.softcap));
    s[i] = select(lanes_between(0, n), s[i], splat(-kInfinity));
    top = max(top, s[i]);
  }
  const float largest = max_lane(top);
  args.max[row] = largest;
  F32x16 sum = splat(0.0f);
  for (int i = 0; i < kChunkKeys / 16; ++i) {
    s[i] = exp_of_nonpositive(s[i] - splat(largest));
    store(scores + 16 * i, s[i]);
    sum = sum + s[i];
  }
  args.sum[row] = sum_lanes(sum);
}

// acc[r][...] = sum over keys of weights[r][key] * row of the key, kVectors vectors of it.
template <typename Rows, int kRows, int kVectors>
void latent_value_tile(const AttendLatentArgs& args, const LatentChunk& chunk, int row, int vector,
                       const float* weights) {
  F32x16 sums[kRows][kVectors];
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    T5G_UNROLL
    for (int c = 0; c < kVectors; ++c) sums[r][c] = splat(0.0f);
  }
  const std::byte* h = chunk.keys;
  const int left = args.hidden_size - 16 * vector;
  for (int key = 0; key < args.n_keys; ++key, h += chunk.row_bytes) {
    F32x16 x[kVectors];
    T5G_UNROLL
    for (int c = 0; c < kVectors; ++c) x[c] = Rows::load(h, vector + c, chunk.padded, left - 16 * c);
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F32x16 w = splat(weights[r * kChunkKeys + key]);
      T5G_UNROLL
      for (int c = 0; c < kVectors; ++c) sums[r][c] = fma(w, x[c], sums[r][c]);
    }
  }
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    float* acc = args.acc + static_cast<int64_t>(row + r) * acc_stride(args.hidden_size) + 16 * vector;
    T5G_UNROLL
    for (int c = 0; c < kVectors; ++c) store(acc + 16 * c, sums[r][c]);
  }
}

template <typename Rows, int kRows, int kVectors>
void latent_value_rows(const AttendLatentArgs& args, const LatentChunk& chunk, int row, int end, int vector,
                       const float* weights) {
  for (; row + kRows <= end; row += kRows, weights += kRows * kChunkKeys)
    latent_value_tile<Rows, kRows, kVectors>(args, chunk, row, vector, weights);
  if constexpr (kRows > 1) {
    if (row < end) latent_value_rows<Rows, kRows / 2, kVectors>(args, chunk, row, end, vector, weights);
  }
}

template <typename Rows, int kVectors>
void latent_values(const AttendLatentArgs& args, const LatentChunk& chunk, int row, int end, int vector,
                   const float* weights) {
  for (; vector + kVectors <= chunk.n_vectors; vector += kVectors)
    latent_value_rows<Rows, Tiles::kLatentRows, kVectors>(args, chunk, row, end, vector, weights);
  if constexpr (kVectors > 1) {
    if (vector < chunk.n_vectors) latent_values<Rows, kVectors / 2>(args, chunk, row, end, vector, weights);
  }
}

template <typename Rows>
void attend_latent_rows(const AttendLatentArgs& args) {
  alignas(64) float scores[kMaxLatentRows * kChunkKeys];
  const LatentChunk chunk(args);
  for (int row = 0; row < args.rows; row += kMaxLatentRows) {
    const int end = args.rows - row < kMaxLatentRows ? args.rows : row + kMaxLatentRows;
    score_latent<Rows, Tiles::kLatentRows, Tiles::kLatentKeys>(args, chunk, row, end, scores);
    for (int r = row; r < end; ++r) latent_softmax(args, r, scores + (r - row) * kChunkKeys);
    latent_values<Rows, Tiles::kLatentKeys>(args, chunk, row, end, 0, scores);
  }
}

void attend_latent(const AttendLatentArgs& args) {
  if (args.type == DataType::kF32) return attend_latent_rows<LatentF32>(args);
  if (args.type == DataType::kF16) return attend_latent_rows<LatentF16>(args);
  attend_latent_rows<LatentQ8_0>(args);
}

}  // namespace
}  // namespace t5g::kernels
