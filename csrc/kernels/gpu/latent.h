// Attention to a latent source, in plain f32 arithmetic: queries are taken to the encoder's space, look at the
// encoder's rows there, and what they find is taken back by a product with the projection of values (matvec.h).
// docs/design/latent-sources.md has the algebra.
//
// A look is one head of one row. A group has a few looks of one key/value head, which read each of the encoder's rows
// together; a look's result depends on none of the others.
#pragma once

#include "kernels/gpu/attention.h"
#include "kernels/gpu/formats.h"
#include "kernels/gpu/norm.h"

namespace t5g {
namespace gpu {

CONSTEXPR u32 kLatentWarps = kLatentThreads / kWarpLanes;  // as many as looks: each has the softmax of one

// ---- The way there --------------------------------------------------------------------------------------------------

struct AbsorbShared {
  f32 sums[kLatentWarps][kAbsorbCols];
};

// One kernel for all types: what matters is the memory that it waits for.
GPU_FN void load_any(u32 type, Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) {
  switch (type) {
    case 0:
      return F32::load(w, at, out);
    case 1:
      return F16::load(w, at, out);
    case 2:
      return BF16::load(w, at, out);
    case 3:
      return Q8_0::load(w, at, out);
    case 4:
      return Q5_1::load(w, at, out);
    case 5:
      return Q5_0::load(w, at, out);
    case 6:
      return Q4_1::load(w, at, out);
    default:
      return Q4_0::load(w, at, out);
  }
}

// A lane has sixteen columns, a warp every fourth dimension of the head.
GPU_FN void absorb(CONSTANT AbsorbArgs& args, SHARED AbsorbShared& shared, Thread t) {
  const u32 share = args.heads / args.kv_heads, looks = args.rows * share, width = args.k_proj.k;
  const u32 first = t.group_y * kLatentLooks, col = (t.group_x * kWarpLanes + t.lane) * kChunk;
  const u64 padded = row_values(width);
  const Weight w = own_weight(args.k_proj);
  u64 q[kLatentLooks];
  f32 sums[kLatentLooks][kChunk];
  UNROLL for (u32 i = 0; i < kLatentLooks; ++i) {
    const u32 look = min_u32(first + i, looks - 1), head = t.group_z * share + look % share;
    q[i] = (static_cast<u64>(look / share) * args.heads + head) * args.head_dim;
    UNROLL for (u32 e = 0; e < kChunk; ++e) sums[i][e] = 0;
  }
  const u32 end = col < padded ? args.head_dim : 0;
  NO_UNROLL for (u32 d = t.warp; d < end; d += kLatentWarps) {
    f32 values[kChunk];
    load_any(args.type, w, (static_cast<u64>(t.group_z) * args.head_dim + d) * padded + col, values);
    const f32 norm = args.has_norm != 0 ? args.norm[d] : 1.f;
    UNROLL for (u32 i = 0; i < kLatentLooks; ++i) {
      const f32 x = args.q[q[i] + d] * norm;
      UNROLL for (u32 e = 0; e < kChunk; ++e) sums[i][e] = mul_add(values[e], x, sums[i][e]);
    }
  }
  UNROLL for (u32 i = 0; i < kLatentLooks; ++i) {
    group_barrier();  // everyone is through with the look before
    // Neighbouring lanes store neighbouring words.
    UNROLL for (u32 e = 0; e < kChunk; ++e) shared.sums[t.warp][e * kWarpLanes + t.lane] = sums[i][e];
    group_barrier();
    if (first + i >= looks) continue;
    GLOBAL f32* to = args.absorbed + (static_cast<u64>(t.group_z) * looks + first + i) * width;
    for (u32 at = t.index; at < kAbsorbCols; at += kLatentThreads) {
      const u32 to_col = t.group_x * kAbsorbCols + at % kWarpLanes * kChunk + at / kWarpLanes;
      f32 sum = shared.sums[0][at];
      UNROLL for (u32 warp = 1; warp < kLatentWarps; ++warp) sum += shared.sums[warp][at];
      if (to_col < width) to[to_col] = sum;
    }
  }
}

// ---- Attention ------------------------------------------------------------------------------------------------------

// Each type of rows (tensor/state_rows.h): value d of one.
struct StateF32 {
  static GPU_FN f32 value(GLOBAL const u8* row, u32, u32 d) { return reinterpret_cast<GLOBAL const f32*>(row)[d]; }
};
struct StateF16 {
  static GPU_FN f32 value(GLOBAL const u8* row, u32, u32 d) {
    return half_to_float(reinterpret_cast<GLOBAL const u16*>(row)[d]);
  }
};
struct StateQ8_0 {
  static GPU_FN f32 value(GLOBAL const u8* row, u32 width, u32 d) {
    const f32 scale = reinterpret_cast<GLOBAL const f32*>(row + row_values(width))[d / kBlock];
    return scale * static_cast<f32>(reinterpret_cast<GLOBAL const i8*>(row)[d]);
  }
};

struct LatentShared {
  f32 weights[kLatentLooks][kChunkKeys];  // first the scores
  f32 factor[kLatentLooks];               // what earlier sums are to be multiplied with
};

// Products of n rows with the looks. A warp takes every fourth row.
template <typename State>
GPU_FN void score_states(CONSTANT LatentArgs& args, SHARED LatentShared& shared, GLOBAL const u8* rows, u32 n,
                         PRIVATE const u64 (&looks)[kLatentLooks], Thread t) {
  NO_UNROLL for (u32 key = t.warp; key < n; key += kLatentWarps) {
    GLOBAL const u8* row = rows + static_cast<u64>(key) * args.row_bytes;
    f32 sums[kLatentLooks];
    UNROLL for (u32 i = 0; i < kLatentLooks; ++i) sums[i] = 0;
    for (u32 d = t.lane; d < args.width; d += kWarpLanes) {
      const f32 x = State::value(row, args.width, d);
      UNROLL for (u32 i = 0; i < kLatentLooks; ++i) sums[i] = mul_add(args.absorbed[looks[i] + d], x, sums[i]);
    }
    UNROLL for (u32 i = 0; i < kLatentLooks; ++i) {
      const f32 sum = lanes_sum<kWarpLanes>(sums[i]);
      if (t.lane == 0) shared.weights[i][key] = sum;
    }
  }
}

// Scores of the warp's own look become weights. first: the row that weights[...][0] is of.
GPU_FN void weigh_states(CONSTANT LatentArgs& args, SHARED LatentShared& shared, u32 first, u32 n,
                         PRIVATE Running& running, Thread t) {
  SHARED f32* own = shared.weights[t.warp];
  GLOBAL const f32* scales = args.scales + static_cast<u64>(t.group_y) * args.n + first;
  f32 score[2];
  UNROLL for (u32 i = 0; i < 2; ++i) {
    const u32 key = t.lane + i * kWarpLanes;
    score[i] = minus_infinity();
    if (key >= n) continue;
    const f32 x = own[key] * (args.has_scales != 0 ? scales[key] : 1.f) * args.scale;
    score[i] = args.softcap > 0 ? args.softcap * tanh_(x / args.softcap) : x;
  }
  const f32 largest = max_(running.largest, lanes_max<kWarpLanes>(max_(score[0], score[1])));
  const bool any = largest > minus_infinity();
  const f32 factor = any ? exp2_(running.largest - largest) : 1;
  const f32 low = any ? exp2_(score[0] - largest) : 0, high = any ? exp2_(score[1] - largest) : 0;
  own[t.lane] = low;
  own[t.lane + kWarpLanes] = high;
  if (t.lane == 0) shared.factor[t.warp] = factor;
  running.sum = running.sum * factor + lanes_sum<kWarpLanes>(low + high);
  running.largest = largest;
}

template <typename State>
GPU_FN void latent_attention(CONSTANT LatentArgs& args, SHARED LatentShared& shared, Thread t) {
  const u32 first = t.group_x * kLatentLooks, n_looks = min_u32(kLatentLooks, args.looks - first);
  const u64 head = static_cast<u64>(t.group_y) * args.looks, all = static_cast<u64>(args.kv_heads) * args.looks;
  u64 looks[kLatentLooks];
  UNROLL for (u32 i = 0; i < kLatentLooks; ++i) looks[i] = (head + first + min_u32(i, n_looks - 1)) * args.width;
  GLOBAL f32* acc = args.acc + (t.group_z * all + head + first) * args.width;
  for (u32 d = t.index; d < args.width; d += kLatentThreads) {
    for (u32 i = 0; i < n_looks; ++i) acc[i * args.width + d] = 0;
  }

  Running running{minus_infinity(), 0};
  const u32 part_keys = args.part_chunks * kChunkKeys, begin = t.group_z * part_keys;
  const u32 end = min_u32(args.n, begin + part_keys);
  NO_UNROLL for (u32 key = begin; key < end; key += kChunkKeys) {
    const u32 n = min_u32(kChunkKeys, end - key);
    GLOBAL const u8* rows = args.states + static_cast<u64>(key) * args.row_bytes;
    score_states<State>(args, shared, rows, n, looks, t);
    group_barrier();
    weigh_states(args, shared, key, n, running, t);
    group_barrier();
    // A thread has columns of its own.
    for (u32 d = t.index; d < args.width; d += kLatentThreads) {
      f32 sums[kLatentLooks];
      UNROLL for (u32 i = 0; i < kLatentLooks; ++i) sums[i] =
          i < n_looks ? acc[i * args.width + d] * shared.factor[i] : 0.f;
      for (u32 k = 0; k < n; ++k) {
        const f32 x = State::value(rows + static_cast<u64>(k) * args.row_bytes, args.width, d);
        UNROLL for (u32 i = 0; i < kLatentLooks; ++i) sums[i] = mul_add(shared.weights[i][k], x, sums[i]);
      }
      UNROLL for (u32 i = 0; i < kLatentLooks; ++i) {
        if (i < n_looks) acc[i * args.width + d] = sums[i];
      }
    }
    group_barrier();
  }
  if (t.lane == 0 && t.warp < n_looks) {
    GLOBAL f32* state = args.state + 2 * (t.group_z * all + head + first + t.warp);
    state[0] = running.largest;
    state[1] = running.sum;
  }
}

// ---- The way back ---------------------------------------------------------------------------------------------------

// A look's own keys and its source, weighed against each other.
GPU_FN void latent_combine(CONSTANT LatentCombineArgs& args, SHARED Nothing&, Thread t) {
  const u32 row = t.group_x / args.heads, head = t.group_x % args.heads, share = args.heads / args.kv_heads;
  const u64 looks = static_cast<u64>(args.rows) * args.heads;
  const u64 look = static_cast<u64>(head / share) * args.rows * share + row * share + head % share;
  const u64 own_rows = static_cast<u64>(args.own_rows) * args.heads;
  const u64 own_row = static_cast<u64>(args.own_first) * args.heads + t.group_x;
  const Running own = merged_state<4>(args.own_state, args.own_parts, own_rows, own_row);
  const Running source = merged_state<4>(args.state, args.parts, looks, look);
  const f32 largest = max_(own.largest, source.largest);
  const f32 own_weight = own.sum * part_weight(own.largest, largest);
  const f32 weight = source.sum * part_weight(source.largest, largest);
  const f32 inverse = inverse_sum(own_weight + weight);
  GLOBAL f32* out = args.out + static_cast<u64>(t.group_x) * args.head_dim;
  for (u32 d = t.index; d < args.head_dim; d += kRowThreads)
    out[d] = (own_weight * out[d] + weight * args.values[look * args.head_dim + d]) * inverse;
}

// ---- The scales of keys ---------------------------------------------------------------------------------------------

GPU_FN void scale_latent(CONSTANT LatentScaleArgs& args, SHARED Nothing&, Thread t) {
  const u64 at = static_cast<u64>(t.group_x) * kNormRows + t.warp;
  if (at >= static_cast<u64>(args.rows) * args.kv_heads) return;
  const f32 inverse = inverse_rms(args.k + at * args.head_dim, args.head_dim, args.eps, t.lane);
  const u64 row = at / args.kv_heads, head = at % args.kv_heads;
  if (t.lane == 0) args.scales[head * args.n + args.first + row] = inverse;
}

}  // namespace gpu
}  // namespace t5g
