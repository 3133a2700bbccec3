// Query rows at work in attention_pairs.h: how they come in and go out, and what their weights are relative to.
//
// That is a score of the row's first keys, not its largest: weights may be far above 1. So no result has to be scaled
// because a later score is larger, unless it is so much larger that the part is done again, relative to the largest:
// tests/kernels/test_attention.py makes that happen.
#pragma once

#include "kernels/cpu/common/math.h"
#include "kernels/cpu/common/transpose.h"
#include "kernels/cpu/int8_keys.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/kv_layout.h"
#include T5G_PAIRS  // the level's own, named by its source file

namespace t5g::kernels {
namespace {

// Pairs of rows lie in the order in which they are read: for every kPairVectors of sixteen rows, step by step.
constexpr int kPairLine = kPairVectors * 16 * kPairFloats;  // floats of a step
constexpr int64_t pairs_at(size_t steps, int vector) {
  return vector / kPairVectors * static_cast<int64_t>(steps) * kPairLine + vector % kPairVectors * 16 * kPairFloats;
}

constexpr float kHeadroom = 40.0f * kUnitsPerOctave;  // how far scores may be above the first ones

// Some rows of a call. A line holds a number of each.
struct PairBlock {
  PairBlock(const AttendArgs& attend, int first)
      : args(attend),
        row(first),
        rows(attend.rows - first < kPairRows ? attend.rows - first : kPairRows),
        steps((attend.head_dim + 1) / 2),
        queries(attend.scratch),
        acc(attend.scratch + pair_steps(attend.head_dim) * kPairRows * kPairFloats),
        operands(acc + acc_stride(attend.head_dim) * kPairRows) {
    for (int i = 0; i < kPairRows; ++i) {
      reference[i] = 0.0f;
      limit[i] = peak[i] = -kInfinity;
    }
  }

  int vectors() const { return (rows + 15) / 16; }
  float* queries_of(int vector) const { return queries + pairs_at(pair_steps(args.head_dim), vector); }
  // From the chunk's key `key` on, which is even.
  float* weights_of(int vector, int key) { return weights + pairs_at(kChunkKeys / 2, vector) + key / 2 * kPairLine; }

  const AttendArgs& args;
  const int row, rows;                                                  // [row, row + rows) of the call
  const int steps;                                                      // pairs of dimensions
  float* const queries;                                                 // pairs of rows, pair_steps of them
  float* const acc;                                                     // [acc_stride] lines
  float* const operands;                                                // [pair_steps, 32]: for operands_of()
  alignas(64) float scores[kChunkKeys * kPairRows];                     // a line for each key
  alignas(64) float weights[kChunkKeys / 2 * kPairRows * kPairFloats];  // pairs of rows, for every two keys
  alignas(64) float begin[kPairRows], end[kPairRows];                   // visible keys of the part
  alignas(64) float reference[kPairRows];                               // the score whose weight is 1
  alignas(64) float limit[kPairRows];                                   // the largest score allowed; at first -infinity
  alignas(64) float peak[kPairRows];                                    // the largest score above the limit
  alignas(64) float sum[kPairRows];                                     // of the weights as they are after rounding
};

inline void load_queries(PairBlock& block) {
  I32x16 words[16];
  for (int row = 0; row < block.rows; row += 16) {
    for (int step = 0; step < block.steps; step += 16) {
      const int left = lanes_left(block.steps, step);
      for (int i = 0; i < 16; ++i) {
        const bool exists = row + i < block.rows;
        words[i] = exists ? as_bits(load_first(block.args.q[block.row + row + i] + step, left)) : splat(0);
      }
      transpose(words);
      float* to = block.queries_of(row / 16) + step * kPairLine;
      for (int i = 0; i < 16; ++i) store_rows(to + i * kPairLine, as_pairs(words[i]));
    }
  }
}

static_assert(kInt8ScoreUnits == kScoreUnits);

// Of int8: packed as Q8_0 weights (see pack.h), whose scales are f16.
inline void load_int8_queries(PairBlock& block) {
  const auto blocks = static_cast<int>(kv_blocks(block.args.head_dim));
  auto* to = reinterpret_cast<std::byte*>(block.queries);
  I32x16 words[16];
  alignas(64) float scales[16];
  for (int row = 0; row < block.rows; row += 16) {
    for (int b = 0; b < blocks; ++b) {
      for (int i = 0; i < 16; ++i) {
        const float* query = row + i < block.rows ? block.args.q[block.row + row + i] : nullptr;
        words[i] = query != nullptr ? as_bits(load_first(query + b * kBlock / 4, kBlock / 4)) : splat(0);
        scales[i] = query != nullptr ? query[blocks * kBlock / 4 + b] : 0.0f;
      }
      transpose(words);
      store_f16(to, load(scales));
      to += 16 * sizeof(uint16_t);
      for (int g = 0; g < kBlock / 4; ++g, to += 64) store(to, words[g]);
    }
  }
}

inline void store_results(const PairBlock& block) {
  const int stride = acc_stride(block.args.head_dim);
  I32x16 words[16];
  for (int row = 0; row < block.rows; row += 16) {
    for (int column = 0; column < stride; column += 16) {
      for (int i = 0; i < 16; ++i) words[i] = as_bits(load(block.acc + (column + i) * kPairRows + row));
      transpose(words);
      float* to = block.args.acc + (block.row + row) * stride + column;
      for (int i = 0; i < 16 && row + i < block.rows; ++i) store(to + i * stride, as_float(words[i]));
    }
  }
  for (int i = 0; i < block.rows; ++i) {
    const bool none = block.limit[i] == -kInfinity;
    // Compilers disagree on the sign of a zero that was truncated (see reference_near).
    block.args.max[block.row + i] = none ? -kInfinity : block.reference[i] / kScoreUnits + 0.0f;
    block.args.sum[block.row + i] = block.sum[i];
  }
}

// A score whose weight is a power of two, and from which near ones can be subtracted without rounding.
inline float reference_near(float score) {
  const float octaves = score / kUnitsPerOctave;
  const bool whole = octaves <= -0x1p23f || octaves >= 0x1p23f;
  return whole ? score : static_cast<float>(static_cast<int>(octaves)) * kUnitsPerOctave;
}

// Some of these scores are above their limits: they are their rows' first, or too large.
[[gnu::noinline]] inline void raise(PairBlock& block, int first, F32x16 scores) {
  float lanes[16];
  store(lanes, scores);
  for (int i = 0; i < 16; ++i) {
    float &limit = block.limit[first + i], &peak = block.peak[first + i], &reference = block.reference[first + i];
    if (limit == -kInfinity && lanes[i] > limit) {
      reference = reference_near(lanes[i]);
      limit = reference + kHeadroom;
    } else if (lanes[i] > limit && lanes[i] > peak) {
      peak = lanes[i];
    }
  }
}

// After a walk: whether there has to be another.
inline bool raise_references(PairBlock& block) {
  bool again = false;
  for (int i = 0; i < kPairRows; ++i) {
    if (!(block.peak[i] > block.limit[i])) continue;
    block.reference[i] = reference_near(block.peak[i]);
    again = true;
  }
  // Every row has its reference now.
  for (float& limit : block.limit) limit = again && limit > -kInfinity ? kInfinity : limit;
  return again;
}

// The keys of a part that some row sees, and those that all see.
struct VisibleKeys {
  int begin, end, all_begin, all_end;
};

inline VisibleKeys find_visible(PairBlock& block) {
  const AttendArgs& args = block.args;
  VisibleKeys keys{args.n_keys, 0, 0, args.n_keys};
  for (int i = 0; i < kPairRows; ++i) {
    int begin = 0, end = args.n_keys;
    if (args.begin != nullptr && i < block.rows) {
      begin = args.begin[block.row + i] > 0 ? args.begin[block.row + i] : 0;
      end = args.end[block.row + i] < end ? args.end[block.row + i] : end;
    }
    block.begin[i] = static_cast<float>(begin);
    block.end[i] = static_cast<float>(end);
    if (i >= block.rows) continue;
    if (begin > keys.all_begin) keys.all_begin = begin;
    if (end < keys.all_end) keys.all_end = end;
    if (begin < end && begin < keys.begin) keys.begin = begin;
    if (begin < end && end > keys.end) keys.end = end;
  }
  return keys;
}

}  // namespace
}  // namespace t5g::kernels
