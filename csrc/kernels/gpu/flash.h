// Attention in fragments, with one softmax over a sequence's own keys, windowed or not, and those of its source.
//
// A group has 16 * kTiles rows: the queries of a few tokens with all heads that share a key/value head. Per chunk of 64
// keys each of four warps scores 16 keys for all rows, the scores meet in the group's memory, and each warp then adds
// up a quarter of the columns. So keys and values are read from device memory once per group, straight into fragments.
// kDims: what there is room for; the padded head_dim may be less.
#pragma once

#include "kernels/gpu/attention.h"
#include "kernels/gpu/elements.h"
#include "kernels/gpu/norm.h"

namespace t5g {
namespace gpu {

CONSTEXPR u32 kFlashWarps = kFlashThreads / kWarpLanes;
CONSTEXPR u32 kScoreStride = kChunkKeys + 4;
CONSTEXPR u32 kWeightStride = kChunkKeys + 8;

template <u32 kDims, u32 kTiles>
struct FlashShared {
  alignas(16) u16 q[16 * kTiles * (kDims + 8)];
  alignas(16) f32 scores[16 * kTiles * kScoreStride];
  alignas(16) u16 weights[16 * kTiles * kWeightStride];
  f32 factor[16 * kTiles];  // what earlier sums are to be multiplied with
  f32 sum[16 * kTiles];
  f32 largest[16 * kTiles];
};

typedef FlashShared<64, 1> FlashShared_64_1;
typedef FlashShared<64, 2> FlashShared_64_2;
typedef FlashShared<128, 2> FlashShared_128_2;
typedef FlashShared<256, 1> FlashShared_256_1;
typedef FlashShared<256, 2> FlashShared_256_2;

// ---- Queries, and new keys and values -------------------------------------------------------------------------------

// Two values of a head.
struct Pair {
  f32 low, high;
};
GPU_FN u32 pairs_of(u32 head_dim) { return (head_dim + 1) / 2; }
// Values i and i + pairs of a head x as the model wants them: normed, rotated, or as they are. inverse: 1 / rms of it.
GPU_FN Pair prepared(CONSTANT FlashArgs& args, GLOBAL const f32* x, GLOBAL const f32* norm, f32 inverse, u32 position,
                     u32 i) {
  const u32 flags = args.prepare.flags, head_dim = args.attention.head_dim, second = i + pairs_of(head_dim);
  Pair pair{x[i], second < head_dim ? x[second] : 0.f};
  if ((flags & kPrepareNorm) != 0) {
    pair.low = pair.low * inverse * norm[i];
    if (second < head_dim) pair.high = pair.high * inverse * norm[second];
  }
  if ((flags & kPrepareRope) == 0) return pair;
  const CosSin at = cos_sin(static_cast<f32>(position) * args.prepare.inv_freq[i]);
  return Pair{rotated(pair.low, pair.high, at, false), rotated(pair.low, pair.high, at, true)};
}

GPU_FN f32 inverse_of_head(CONSTANT FlashArgs& args, GLOBAL const f32* x, u32 lane) {
  if ((args.prepare.flags & kPrepareNorm) == 0) return 0;
  return inverse_rms(x, args.attention.head_dim, args.prepare.eps, lane);
}

// The group's queries, rounded; rows that there are not, and the padding, are zero. A warp takes a row.
template <typename Kv, u32 kDims, u32 kTiles>
GPU_FN void load_queries(CONSTANT FlashArgs& args, SHARED FlashShared<kDims, kTiles>& shared,
                         PRIVATE const AttentionTile& tile, u32 first_position, u32 dims, Thread t) {
  CONSTANT AttentionArgs& a = args.attention;
  const u32 heads = a.heads / a.kv_heads, n_rows = tile.n_rows * heads, pairs = pairs_of(a.head_dim);
  NO_UNROLL for (u32 row = t.warp; row < 16 * kTiles; row += kFlashWarps) {
    SHARED u16* to = shared.q + row * (kDims + 8);
    for (u32 d = (row < n_rows ? a.head_dim : 0) + t.lane; d < dims; d += kWarpLanes) to[d] = 0;
    if (row >= n_rows) continue;
    const u32 query = row / heads;
    const u64 at = static_cast<u64>(tile.first_row - a.first_row + query) * a.heads + t.group_y * heads + row % heads;
    GLOBAL const f32* q = a.q + at * a.head_dim;
    const f32 inverse = inverse_of_head(args, q, t.lane);
    NO_UNROLL for (u32 i = t.lane; i < pairs; i += kWarpLanes) {
      const Pair pair = prepared(args, q, args.prepare.q_norm, inverse, first_position + query, i);
      to[i] = static_cast<u16>(Kv::round(pair.low));
      if (i + pairs < a.head_dim) to[i + pairs] = static_cast<u16>(Kv::round(pair.high));
    }
  }
}

// Keys and values of the tile's own tokens that lie in chunks [first, last), as store_kv() has them. A warp takes a
// token.
template <typename Kv>
GPU_FN void store_own(CONSTANT FlashArgs& args, PRIVATE const AttentionTile& tile, PRIVATE const KvSpan& span,
                      u32 first_position, u32 first, u32 last, u32 dims, Thread t) {
  CONSTANT AttentionArgs& a = args.attention;
  const u32 pairs = pairs_of(a.head_dim);
  NO_UNROLL for (u32 i = t.warp; i < tile.n_rows; i += kFlashWarps) {
    const u32 position = first_position + i, chunk = position / kChunkKeys, slot = position % kChunkKeys;
    if (chunk < first || chunk >= last || position >= span.length) continue;
    GLOBAL u16* keys = reinterpret_cast<GLOBAL u16*>(head_of<Kv>(a.batch, span, chunk, a.layer, t.group_y, dims));
    GLOBAL u16* values = keys + kChunkKeys * dims + slot;
    keys += slot * dims;
    const u64 at = static_cast<u64>(tile.first_row - a.first_row + i) * a.kv_heads + t.group_y;
    GLOBAL const f32* k = args.prepare.k + at * a.head_dim;
    GLOBAL const f32* v = args.prepare.v + at * a.head_dim;
    const f32 inverse = inverse_of_head(args, k, t.lane);
    NO_UNROLL for (u32 p = t.lane; p < pairs; p += kWarpLanes) {
      const Pair pair = prepared(args, k, args.prepare.k_norm, inverse, position, p);
      keys[p] = static_cast<u16>(Kv::round(pair.low));
      if (p + pairs < a.head_dim) keys[p + pairs] = static_cast<u16>(Kv::round(pair.high));
    }
    NO_UNROLL for (u32 d = t.lane; d < dims; d += kWarpLanes) {
      const f32 value = d < a.head_dim ? v[d] : 0.f;
      if (d >= a.head_dim) keys[d] = 0;
      values[d * kChunkKeys] = static_cast<u16>(Kv::round(value));
    }
  }
}

// ---- One chunk ------------------------------------------------------------------------------------------------------

// Each warp's scores of 16 keys, to the group's memory.
template <typename Kv, u32 kDims, u32 kTiles>
GPU_FN void score_chunk(SHARED FlashShared<kDims, kTiles>& shared, GLOBAL const u16* keys, u32 dims, Thread t) {
  FragC scores[kTiles][2];
  UNROLL for (u32 i = 0; i < kTiles; ++i) {
    clear(scores[i][0]);
    clear(scores[i][1]);
  }
  UNROLL_BY(2) for (u32 d = 0; d < dims; d += 16) {
    typename Kv::B b[2];
    UNROLL for (u32 j = 0; j < 2; ++j) load_b_global(b[j], keys + (t.warp * 16 + j * 8) * dims + d, dims, t);
    UNROLL for (u32 i = 0; i < kTiles; ++i) {
      typename Kv::A a;
      load_a(a, shared.q + 16 * i * (kDims + 8) + d, kDims + 8, t);
      multiply_add(scores[i][0], a, b[0]);
      multiply_add(scores[i][1], a, b[1]);
    }
  }
  UNROLL for (u32 i = 0; i < kTiles; ++i) {
    UNROLL for (u32 j = 0; j < 2; ++j) {
      UNROLL for (u32 e = 0; e < 4; ++e) {
        const u32 row = 16 * i + element_row(t.lane, e), key = t.warp * 16 + j * 8 + element_col(t.lane, e);
        shared.scores[row * kScoreStride + key] = get(scores[i][j], e);
      }
    }
  }
}

// A row's softmax is the work of kSharers lanes with kOwnKeys keys each: scores become weights. seen: keys of the
// chunk that the row sees.
template <typename Kv, u32 kDims, u32 kTiles>
GPU_FN void weigh_chunk(CONSTANT AttentionArgs& a, SHARED FlashShared<kDims, kTiles>& shared, KeyRange seen,
                        PRIVATE Running& running, Thread t) {
  constexpr u32 kSharers = kFlashThreads / (16 * kTiles), kOwnKeys = kChunkKeys / kSharers;
  const u32 row = t.index / kSharers, first = t.index % kSharers * kOwnKeys;
  SHARED f32* scores = shared.scores + row * kScoreStride + first;
  if (a.softcap > 0) {
    const f32 inverse = a.scale / a.softcap;
    NO_UNROLL for (u32 i = 0; i < kOwnKeys; ++i) scores[i] = a.softcap * tanh_(scores[i] * inverse);
  }
  const f32 scale = a.softcap > 0 ? 1 : a.scale;
  f32 own[kOwnKeys];
  f32 largest = running.largest;
  UNROLL for (u32 i = 0; i < kOwnKeys; ++i) {
    const u32 key = first + i;
    own[i] = key >= seen.begin && key < seen.end ? scores[i] * scale : minus_infinity();
    largest = max_(largest, own[i]);
  }
  largest = lanes_max<kSharers>(largest);
  // Before the first key that a row sees, all are minus infinity: their weights are 0, and 0 is kept.
  const f32 base = largest > minus_infinity() ? largest : 0;
  const f32 factor = exp2_(running.largest - base);
  f32 added = 0;
  UNROLL for (u32 i = 0; i < kOwnKeys; i += 2) {
    const f32 low = exp2_(own[i] - base), high = exp2_(own[i + 1] - base);
    added += low + high;
    *reinterpret_cast<SHARED u32*>(shared.weights + row * kWeightStride + first + i) = Kv::round(low) | Kv::round(high)
                                                                                                            << 16;
  }
  running.sum = running.sum * factor + lanes_sum<kSharers>(added);
  running.largest = largest;
  if (first == 0) shared.factor[row] = factor;
}

// out = out * factor + weights times values; a warp has every fourth eight columns.
template <typename Kv, u32 kDims, u32 kTiles>
GPU_FN void add_chunk(SHARED FlashShared<kDims, kTiles>& shared, GLOBAL const u16* values, u32 dims,
                      PRIVATE FragC (&out)[kTiles][kDims / 32], Thread t) {
  UNROLL for (u32 i = 0; i < kTiles; ++i) {
    // Elements 0 and 1 are in one row, 2 and 3 in another.
    const f32 upper = shared.factor[16 * i + element_row(t.lane, 0)];
    const f32 lower = shared.factor[16 * i + element_row(t.lane, 2)];
    UNROLL for (u32 j = 0; j < kDims / 32; ++j) {
      UNROLL for (u32 e = 0; e < 4; ++e) set(out[i][j], e, get(out[i][j], e) * (e < 2 ? upper : lower));
    }
  }
  UNROLL for (u32 k = 0; k < kChunkKeys; k += 16) {
    typename Kv::A a[kTiles];
    UNROLL for (u32 i = 0; i < kTiles; ++i) load_a(a[i], shared.weights + 16 * i * kWeightStride + k, kWeightStride, t);
    UNROLL for (u32 j = 0; j < kDims / 32; ++j) {
      const u32 col = (j * kFlashWarps + t.warp) * 8;
      if (col >= dims) continue;
      typename Kv::B b;
      load_b_global(b, values + col * kChunkKeys + k, kChunkKeys, t);
      UNROLL for (u32 i = 0; i < kTiles; ++i) multiply_add(out[i][j], a[i], b);
    }
  }
}

// ---- The kernel -----------------------------------------------------------------------------------------------------

// The result, or a part's sums and state.
template <u32 kDims, u32 kTiles>
GPU_FN void store_result(CONSTANT AttentionArgs& a, SHARED FlashShared<kDims, kTiles>& shared,
                         PRIVATE const AttentionTile& tile, PRIVATE const FragC (&out)[kTiles][kDims / 32], Thread t) {
  const u32 heads = a.heads / a.kv_heads, n_rows = tile.n_rows * heads, first = tile.first_row - a.first_row;
  const u64 part = a.parts > 1 ? static_cast<u64>(t.group_z) * a.rows * a.heads : 0;
  GLOBAL f32* result = a.parts > 1 ? a.acc : a.out;
  UNROLL for (u32 i = 0; i < kTiles; ++i) {
    UNROLL for (u32 e = 0; e < 4; ++e) {
      const u32 row = 16 * i + element_row(t.lane, e);
      if (row >= n_rows) continue;
      const u64 at = part + static_cast<u64>(first + row / heads) * a.heads + t.group_y * heads + row % heads;
      const f32 factor = a.parts > 1 ? 1 : inverse_sum(shared.sum[row]);
      const u32 col = t.warp * 8 + element_col(t.lane, e);
      GLOBAL f32* to = result + at * a.head_dim + col;
      UNROLL for (u32 j = 0; j < kDims / 32; ++j) {
        if (col + j * kFlashWarps * 8 < a.head_dim) to[j * kFlashWarps * 8] = get(out[i][j], e) * factor;
      }
    }
  }
  if (a.parts > 1 && t.index < n_rows) {
    const u32 row = t.index;
    const u64 at = part + static_cast<u64>(first + row / heads) * a.heads + t.group_y * heads + row % heads;
    a.state[2 * at] = shared.largest[row];
    a.state[2 * at + 1] = shared.sum[row];
  }
}

template <typename Kv, u32 kDims, u32 kTiles>
GPU_FN void flash(CONSTANT FlashArgs& args, SHARED FlashShared<kDims, kTiles>& shared, Thread t) {
  constexpr u32 kSharers = kFlashThreads / (16 * kTiles);
  CONSTANT AttentionArgs& a = args.attention;
  const AttentionTile tile = args.tiles[t.group_x];
  const Sequence sequence = a.batch.sequences[tile.sequence];
  const u32 dims = Kv::dims(a.head_dim), heads = a.heads / a.kv_heads;
  const u32 first_position = sequence.first_position + tile.first_row - sequence.first_row;

  // Parts that any row of the tile sees something of.
  KeyRange own = own_keys(a, sequence, first_position);
  own.end = own_keys(a, sequence, first_position + tile.n_rows - 1).end;
  const KeyRange source = source_keys(a, sequence);
  const Parts own_parts = parts_of(own, a.part_chunks), source_parts = parts_of(source, a.part_chunks);
  const bool self = t.group_z < own_parts.n;
  const u32 part = self ? own_parts.first + t.group_z : t.group_z - own_parts.n;
  KvSpan span = sequence.source;
  if (self) span = sequence.self;
  const u32 n_chunks = self                    ? divide_up(own.end, kChunkKeys)
                       : part < source_parts.n ? divide_up(source.end, kChunkKeys)
                                               : 0;
  const u32 first = max_u32(self ? own.begin / kChunkKeys : 0, part * a.part_chunks);
  const u32 last = min_u32(n_chunks, (part + 1) * a.part_chunks);

  load_queries<Kv, kDims, kTiles>(args, shared, tile, first_position, dims, t);
  if (self && (args.prepare.flags & kPrepareStore) != 0)
    store_own<Kv>(args, tile, sequence.self, first_position, first, last, dims, t);
  group_barrier_device();

  FragC out[kTiles][kDims / 32];
  UNROLL for (u32 i = 0; i < kTiles; ++i) { UNROLL for (u32 j = 0; j < kDims / 32; ++j) clear(out[i][j]); }
  Running running{minus_infinity(), 0};
  const u32 row = t.index / kSharers;
  KeyRange keys = source;
  if (self) keys = own_keys(a, sequence, first_position + row / heads);
  NO_UNROLL for (u32 c = first; c < last; ++c) {
    GLOBAL const u16* head =
        reinterpret_cast<GLOBAL const u16*>(head_of<Kv>(a.batch, span, c, a.layer, t.group_y, dims));
    score_chunk<Kv, kDims, kTiles>(shared, head, dims, t);
    group_barrier();
    const u32 begin = c * kChunkKeys;
    const KeyRange seen{keys.begin > begin ? keys.begin - begin : 0, keys.end > begin ? keys.end - begin : 0};
    weigh_chunk<Kv, kDims, kTiles>(a, shared, seen, running, t);
    group_barrier();
    add_chunk<Kv, kDims, kTiles>(shared, head + kChunkKeys * dims, dims, out, t);
  }
  if (t.index % kSharers == 0) {
    shared.sum[row] = running.sum;
    shared.largest[row] = running.largest;
  }
  group_barrier();
  store_result<kDims, kTiles>(a, shared, tile, out, t);
}

}  // namespace gpu
}  // namespace t5g
