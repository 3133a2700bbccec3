// Linear layers of few rows: bound by memory, each weight is read once for all rows of a group. Every group makes its
// own input, norms and all, so that a layer is few launches.
//
// The input lies in the group's memory, piece by piece of k. Sixteen lanes share two outputs, each lane every sixteenth
// chunk of 16 values: so a warp reads whole cache lines. An output is the sum of its lanes' sums, each in order of k,
// and depends on nothing else.
#pragma once

#include "kernels/gpu/attention.h"
#include "kernels/gpu/elements.h"
#include "kernels/gpu/linear.h"
#include "kernels/gpu/norm.h"
#include "kernels/gpu/select.h"

namespace t5g {
namespace gpu {

CONSTEXPR u32 kRowLanes = 16;
CONSTEXPR u32 kOutputs = 2;
CONSTEXPR u32 kWarpOutputs = kWarpLanes / kRowLanes * kOutputs;
CONSTEXPR u32 kMatvecWarps = kMatvecThreads / kWarpLanes;
CONSTEXPR u32 kPieceBytes = 16384;

CONSTEXPR f32 kByteScale = 1.f / 127;

// A type's input in the group's memory.
template <typename Format, u32 kRows>
struct Piece {
  enum { kValues = kPieceBytes / kRows / (Format::kIsQuantized != 0 ? 1 : 4) };  // of each row
};

template <u32 kRows>
struct MatvecShared {
  alignas(16) u8 piece[kPieceBytes];
  f32 scales[kPieceBytes / kBlock];
  f32 sums[kRows][kSumWarps];
  f32 inverse[2][kRows];
  Scored best[kRows][kMatvecWarps];
};

// ---- Its input ------------------------------------------------------------------------------------------------------

GPU_FN f32 sum_of_row(CONSTANT MatvecInput& in, u64 at, u32 k, f32 inverse_added) {
  return in.x[at] + in.added[at] * inverse_added * in.added_weight[k];
}

// 1 / rms of what is added to each row, and of the rows, to shared.inverse: by all threads of the group, with the same
// bits as by a warp (norm.h).
template <u32 kRows>
GPU_FN void measure_rows(CONSTANT MatvecArgs& args, SHARED MatvecShared<kRows>& shared, u32 first_row, Thread t) {
  CONSTANT MatvecInput& in = args.input;
  const bool adds = in.kind == kFromSum;
  if (in.kind != kFromNorm && !adds) return;
  const u32 rows = min_u32(kRows, args.m - first_row);
  NO_UNROLL for (u32 pass = adds ? 0 : 1; pass < 2; ++pass) {
    NO_UNROLL for (u32 i = 0; i < rows; ++i) {
      const u64 row = static_cast<u64>(first_row + i) * args.k;
      f32 sum = 0;
      UNROLL_BY(2) for (u32 k = t.index; k < args.k; k += kSumThreads) {
        const f32 x = pass == 0 ? in.added[row + k]
                      : adds    ? sum_of_row(in, row + k, k, shared.inverse[0][i])
                                : in.x[row + k];
        sum = mul_add(x, x, sum);
        if (pass == 1 && adds && t.group_x == 0) in.x_out[row + k] = x;
      }
      sum = lanes_sum<kWarpLanes>(sum);
      if (t.lane == 0) shared.sums[i][t.warp] = sum;
    }
    group_barrier();
    if (t.index < rows) {
      f32 sum = shared.sums[t.index][0];
      for (u32 w = 1; w < kSumWarps; ++w) sum += shared.sums[t.index][w];
      shared.inverse[pass][t.index] = inverse_root(sum, args.k, in.eps);
    }
    group_barrier();
  }
}

// Value k of a row.
GPU_FN f32 input_value(CONSTANT MatvecArgs& args, f32 inverse_added, f32 inverse, u32 row, u32 k) {
  CONSTANT MatvecInput& in = args.input;
  if (k >= args.k) return 0;
  const u64 at = static_cast<u64>(row) * args.k + k;
  if (in.kind == kFromRows) return in.x[at];
  if (in.kind == kFromNorm) return in.x[at] * inverse * in.weight[k];
  if (in.kind == kFromSum) return sum_of_row(in, at, k, inverse_added) * inverse * in.weight[k];
  const u32 heads = args.k / in.head_dim;
  const u64 head = static_cast<u64>(row) * heads + k / in.head_dim;
  const u64 rows = static_cast<u64>(args.m) * heads;
  const Running all = merged_state<1>(in.added, in.parts, rows, head);
  return merged_value<1>(in.x, in.added, in.parts, rows, head, in.head_dim, k % in.head_dim, all);
}

// Values [k, k + n) of the rows that there are come to the group's memory. A warp takes blocks of 32, a lane one value
// of it. Floats lie with the quarters of chunks apart, so that lanes which read neighbouring chunks read neighbouring
// words.
template <typename Format, u32 kRows>
GPU_FN void stage(CONSTANT MatvecArgs& args, SHARED MatvecShared<kRows>& shared, u32 first_row, u32 k, u32 n,
                  Thread t) {
  constexpr u32 kValues = Piece<Format, kRows>::kValues;
  // Blocks of all rows, one after the other.
  const u32 blocks = n / kBlock, rows = min_u32(kRows, args.m - first_row);
  NO_UNROLL for (u32 b = t.warp; b < blocks * rows; b += kMatvecWarps) {
    const u32 i = b / blocks, block = b % blocks, at = block * kBlock + t.lane;
    const f32 x = input_value(args, shared.inverse[0][i], shared.inverse[1][i], first_row + i, k + at);
    if (Format::kIsQuantized != 0) {
      const f32 largest = lanes_max<kWarpLanes>(abs_(x));
      const f32 inverse = largest > kSmallest ? 127 / largest : 0;
      shared.piece[i * kValues + at] = static_cast<u8>(round_away(x * inverse));
      if (t.lane == 0) shared.scales[i * (kValues / kBlock) + block] = largest * kByteScale;
    } else {
      const u32 chunk = at / kChunk, quarter = at % kChunk / 4;
      reinterpret_cast<SHARED f32*>(shared.piece)[i * kValues + (quarter * (kValues / kChunk) + chunk) * 4 + at % 4] =
          x;
    }
  }
}

// ---- Products -------------------------------------------------------------------------------------------------------

GPU_FN i32 dot16(Chunk16 a, Bytes16 b) {
  i32 sum = 0;
  UNROLL for (u32 w = 0; w < 4; ++w) sum = dot4(a.word[w], b.word[w], sum);
  return sum;
}

// Adds a chunk's products of kOutputs rows of weights, which begin at values at[j], with all rows of the input.
template <typename Format, u32 kRows>
GPU_FN void add_quantized(PRIVATE const typename Format::Raw (&raw)[kOutputs], PRIVATE const Scale (&scale)[kOutputs],
                          SHARED MatvecShared<kRows>& shared, u32 chunk, PRIVATE f32 (&sums)[kRows * kOutputs]) {
  constexpr u32 kValues = Piece<Format, kRows>::kValues;
  UNROLL for (u32 i = 0; i < kRows; ++i) {
    const Bytes16 x = reinterpret_cast<SHARED const Bytes16*>(shared.piece + i * kValues)[chunk];
    const f32 x_scale = shared.scales[i * (kValues / kBlock) + chunk / 2];
    i32 total = 0;
    if (Format::kOffset != 0 || Format::kHasMinimum != 0)
      total = dot16(Chunk16{{0x01010101u, 0x01010101u, 0x01010101u, 0x01010101u}}, x);
    UNROLL for (u32 j = 0; j < kOutputs; ++j) {
      const i32 sum = dot16(Format::unpack(raw[j]), x) - static_cast<i32>(Format::kOffset) * total;
      sums[kOutputs * i + j] = mul_add(scale[j].scale * x_scale, static_cast<f32>(sum), sums[kOutputs * i + j]);
      if (Format::kHasMinimum != 0)
        sums[kOutputs * i + j] = mul_add(scale[j].minimum * x_scale, static_cast<f32>(total), sums[kOutputs * i + j]);
    }
  }
}

template <typename Format, u32 kRows>
GPU_FN void add_floats(PRIVATE const f32 (&w)[kOutputs][kChunk], SHARED MatvecShared<kRows>& shared, u32 chunk,
                       PRIVATE f32 (&sums)[kRows * kOutputs]) {
  constexpr u32 kValues = Piece<Format, kRows>::kValues;
  UNROLL for (u32 i = 0; i < kRows; ++i) {
    UNROLL for (u32 quarter = 0; quarter < 4; ++quarter) {
      const Bytes16 x = reinterpret_cast<SHARED const Bytes16*>(
          shared.piece)[i * (kValues / 4) + quarter * (kValues / kChunk) + chunk];
      UNROLL for (u32 j = 0; j < kOutputs; ++j) {
        UNROLL for (u32 e = 0; e < 4; ++e) sums[kOutputs * i + j] =
            mul_add(float_of(x.word[e]), w[j][4 * quarter + e], sums[kOutputs * i + j]);
      }
    }
  }
}

// What two outputs are: rows of one matrix, or the same row of two.
struct OutputRows {
  Weight weight[kOutputs];
  u64 first[kOutputs];  // value of the weight that the row begins at
};

// How the types differ: F32, F16 and BF16, and those with blocks.
template <typename Format, u32 kIsQuantized>
struct Multiply;

template <typename Format>
struct Multiply<Format, 1> {
  template <u32 kRows>
  static GPU_FN void add(SHARED MatvecShared<kRows>& shared, PRIVATE const OutputRows& rows, u32 k, u32 chunks,
                         u32 lane, PRIVATE f32 (&sums)[kRows * kOutputs]) {
    UNROLL_BY(kRows == 1 ? 4 : 1) for (u32 chunk = lane; chunk < chunks; chunk += kRowLanes) {
      typename Format::Raw raw[kOutputs];
      Scale scale[kOutputs];
      UNROLL for (u32 j = 0; j < kOutputs; ++j) {
        raw[j] = Format::fetch(rows.weight[j], rows.first[j] + k + chunk * kChunk);
        scale[j] = scale_of<Format>(rows.weight[j], rows.first[j] + k + chunk * kChunk);
      }
      add_quantized<Format, kRows>(raw, scale, shared, chunk, sums);
    }
  }
};

template <typename Format>
struct Multiply<Format, 0> {
  template <u32 kRows>
  static GPU_FN void add(SHARED MatvecShared<kRows>& shared, PRIVATE const OutputRows& rows, u32 k, u32 chunks,
                         u32 lane, PRIVATE f32 (&sums)[kRows * kOutputs]) {
    for (u32 chunk = lane; chunk < chunks; chunk += kRowLanes) {
      f32 w[kOutputs][kChunk];
      UNROLL for (u32 j = 0; j < kOutputs; ++j) Format::load(rows.weight[j], rows.first[j] + k + chunk * kChunk, w[j]);
      add_floats<Format, kRows>(w, shared, chunk, sums);
    }
  }
};

// ---- What becomes of them -------------------------------------------------------------------------------------------

// Sums over the lanes that share outputs. Each output is the business of one lane in the end, output j of row i that of
// lane 2 i + j: so every step halves the number of outputs that a lane still looks after. The order is lanes_sum()'s.
template <u32 kRows>
GPU_FN f32 own_sum(PRIVATE f32 (&sums)[kRows * kOutputs], u32 lane) {
  UNROLL for (u32 mask = 1; mask < kRowLanes; mask *= 2) {
    if (mask >= kRows * kOutputs) {
      sums[0] += warp_shuffle_xor(sums[0], mask);
      continue;
    }
    const bool upper = (lane & mask) != 0;
    f32 given[kRows * kOutputs / 2];
    UNROLL for (u32 i = 0; i < kRows * kOutputs / 2; ++i) {
      if (i >= kRows * kOutputs / 2 / mask) continue;
      given[i] = upper ? sums[2 * i] : sums[2 * i + 1];
      sums[i] = upper ? sums[2 * i + 1] : sums[2 * i];
    }
    warp_exchange(given, kRows * kOutputs / 2 / mask, mask);
    UNROLL for (u32 i = 0; i < kRows * kOutputs / 2; ++i) {
      if (i < kRows * kOutputs / 2 / mask) sums[i] += given[i];
    }
  }
  return sums[0];
}

// The best of the outputs that a lane has looked at. Ids rise: of equal ones the first is kept.
struct BestSoFar {
  f32 sum;  // before the soft cap
  Scored capped;
};
GPU_FN void keep_best(CONSTANT MatvecArgs& args, u32 row, u32 col, f32 sum, PRIVATE BestSoFar& best) {
  if (!(sum > best.sum) || is_apart(args.apart, row, static_cast<i32>(col))) return;
  best.sum = sum;
  // Different sums can be capped to the same value.
  const f32 capped = args.softcap > 0 ? args.softcap * tanh_(sum / args.softcap) : sum;
  if (capped > best.capped.value) best.capped = Scored{capped, static_cast<i32>(col)};
}

template <u32 kRows>
GPU_FN void store_best(CONSTANT MatvecArgs& args, SHARED MatvecShared<kRows>& shared, u32 first_row, Scored best,
                       Thread t) {
  // Lanes that differ in j, or in the outputs they share, have the same row.
  UNROLL for (u32 mask = 1; mask < kWarpLanes; mask *= kRowLanes) {
    Scored other;
    other.value = warp_shuffle_xor(best.value, mask);
    other.id = warp_shuffle_xor(best.id, mask);
    best = better_of(best, other);
  }
  if (t.lane < kOutputs * kRows && t.lane % kOutputs == 0) shared.best[t.lane / kOutputs][t.warp] = best;
  group_barrier();
  if (t.index >= kRows || first_row + t.index >= args.m) return;
  Scored all = shared.best[t.index][0];
  for (u32 w = 1; w < kMatvecWarps; ++w) {
    const Scored other = shared.best[t.index][w];
    all = better_of(all, other);
  }
  args.found[static_cast<u64>(first_row + t.index) * args.groups + t.group_x] = all;
}

// ---- The kernel -----------------------------------------------------------------------------------------------------

GPU_FN u32 tiles_of(CONSTANT MatvecArgs& args) {
  CONSTANT Projection& last = args.projections[args.finish == kStore ? args.n_projections - 1 : 0];
  const u32 cols = args.finish == kGeglu ? kMatvecPairs : kMatvecCols;
  return (args.finish == kStore ? last.first_tile : 0) + divide_up(last.weight.n, cols);
}

template <typename Format, u32 kRows>
GPU_FN void matvec(CONSTANT MatvecArgs& args, SHARED MatvecShared<kRows>& shared, Thread t) {
  constexpr u32 kValues = Piece<Format, kRows>::kValues;
  const u32 first_row = t.group_y * kRows, lane = t.lane % kRowLanes;
  const u32 padded = static_cast<u32>(row_values(args.k)), tiles = tiles_of(args);
  const bool pairs = args.finish == kGeglu;
  BestSoFar best{minus_infinity(), no_token()};
  measure_rows<kRows>(args, shared, first_row, t);

  const u32 step = args.finish == kBest ? args.groups : tiles;
  NO_UNROLL for (u32 tile = t.group_x; tile < tiles; tile += step) {
    u32 projection = 0;
    if (args.finish == kStore) {
      while (projection + 1 < args.n_projections && tile >= args.projections[projection + 1].first_tile) ++projection;
    }
    CONSTANT Projection& p = args.projections[projection];
    // The first of the columns that this thread helps with; those beyond the last are like it.
    const u32 own = t.warp * (kWarpLanes / kRowLanes) + t.lane / kRowLanes;
    const u32 col = (tile - (args.finish == kStore ? p.first_tile : 0)) * (pairs ? kMatvecPairs : kMatvecCols) +
                    own * (pairs ? 1 : kOutputs);
    OutputRows rows;
    UNROLL for (u32 j = 0; j < kOutputs; ++j) {
      rows.weight[j] = own_weight(args.projections[pairs ? j : projection].weight);
      rows.first[j] = static_cast<u64>(min_u32(pairs ? col : col + j, p.weight.n - 1)) * padded;
    }
    f32 sums[kRows * kOutputs];
    UNROLL for (u32 i = 0; i < kRows * kOutputs; ++i) sums[i] = 0;
    NO_UNROLL for (u32 k = 0; k < padded; k += kValues) {
      const u32 n = min_u32(kValues, padded - k);
      // An input of one piece is made once.
      if (padded > kValues || tile == t.group_x) {
        group_barrier();
        stage<Format, kRows>(args, shared, first_row, k, n, t);
        group_barrier();
      }
      Multiply<Format, Format::kIsQuantized>::template add<kRows>(shared, rows, k, n / kChunk, lane, sums);
    }
    const f32 sum = own_sum<kRows>(sums, lane), up = warp_shuffle_xor(sum, 1);
    const u32 row = first_row + lane / kOutputs, own_col = pairs ? col : col + lane % kOutputs;
    if (lane >= kOutputs * kRows || row >= args.m || own_col >= p.weight.n) continue;
    if (args.finish == kStore) finish(p, row, own_col, sum);
    if (pairs && lane % kOutputs == 0) p.out[static_cast<u64>(row) * p.weight.n + col] = gelu_tanh(sum) * up;
    if (args.finish == kBest) keep_best(args, row, own_col, sum, best);
  }
  if (args.finish == kBest) store_best<kRows>(args, shared, first_row, best.capped, t);
}

}  // namespace gpu
}  // namespace t5g
