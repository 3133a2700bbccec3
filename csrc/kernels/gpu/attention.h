// Attention in plain f32 arithmetic, for every head_dim and type: a warp for each row, head and part of the keys.
// Scores are made by one lane for each key, results by one lane for each dimension.
#pragma once

#include "kernels/gpu/kv.h"

namespace t5g {
namespace gpu {

struct AttentionShared {
  f32 weights[kChunkKeys];
};

// Keys [begin, end) of a sequence or source, in chunks [first, last).
struct KeyRange {
  u32 begin, end;
};

// What a row at some position sees of its own sequence.
GPU_FN KeyRange own_keys(CONSTANT AttentionArgs& args, PRIVATE const Sequence& sequence, u32 position) {
  const u32 length = (args.segments & kSelfKeys) != 0 ? sequence.self.length : 0;
  const u32 begin = position > args.before ? position - args.before : 0;
  const u32 end = args.after >= length ? length : min_u32(position + args.after + 1, length);
  return KeyRange{min_u32(begin, end), end};
}
GPU_FN KeyRange source_keys(CONSTANT AttentionArgs& args, PRIVATE const Sequence& sequence) {
  return KeyRange{0, (args.segments & kSourceKeys) != 0 ? sequence.source.length : 0};
}

GPU_FN u32 divide_up(u32 a, u32 b) { return a / b + (a % b != 0 ? 1 : 0); }

// Parts that the keys of a range lie in: [first, first + n).
struct Parts {
  u32 first, n;
};
GPU_FN Parts parts_of(PRIVATE const KeyRange& keys, u32 part_chunks) {
  if (keys.begin >= keys.end) return Parts{0, 0};
  const u32 first = keys.begin / kChunkKeys / part_chunks;
  return Parts{first, divide_up(divide_up(keys.end, kChunkKeys), part_chunks) - first};
}

// The softmax of a row so far.
struct Running {
  f32 largest, sum;
};

// What a row's sums are multiplied with in the end. One that sees no key at all has a result of zeros.
GPU_FN f32 inverse_sum(f32 sum) { return sum > 0 ? 1 / sum : 0; }

// One chunk's keys, of which [begin, end) are seen (counted in the chunk).
template <typename Kv>
GPU_FN void attend_chunk(CONSTANT AttentionArgs& args, SHARED AttentionShared& shared, GLOBAL const u8* head, u32 dims,
                         KeyRange seen, GLOBAL const f32* q, GLOBAL f32* acc, PRIVATE Running& running, u32 lane) {
  f32 score[2];
  UNROLL for (u32 i = 0; i < 2; ++i) {
    const u32 key = lane + i * kWarpLanes;
    score[i] = minus_infinity();
    if (key < seen.begin || key >= seen.end) continue;
    f32 sum = 0;
    for (u32 d = 0; d < args.head_dim; ++d) sum = mul_add(q[d], Kv::key(head, dims, key, d), sum);
    sum *= args.scale;
    score[i] = args.softcap > 0 ? args.softcap * tanh_(sum / args.softcap) : sum;
  }
  const f32 largest = max_(running.largest, lanes_max<kWarpLanes>(max_(score[0], score[1])));
  const bool any = largest > minus_infinity();
  const f32 factor = any ? exp2_(running.largest - largest) : 1;
  const f32 low = any ? exp2_(score[0] - largest) : 0, high = any ? exp2_(score[1] - largest) : 0;
  warp_barrier();  // nobody still reads the weights of the chunk before
  shared.weights[lane] = low;
  shared.weights[lane + kWarpLanes] = high;
  running.sum = running.sum * factor + lanes_sum<kWarpLanes>(low + high);  // and all have written
  running.largest = largest;
  warp_barrier();
  for (u32 d = lane; d < args.head_dim; d += kWarpLanes) {
    f32 sum = acc[d] * factor;
    for (u32 key = seen.begin; key < seen.end; ++key)
      sum = mul_add(shared.weights[key], Kv::value(head, dims, key, d), sum);
    acc[d] = sum;
  }
}

template <typename Kv>
GPU_FN void attention(CONSTANT AttentionArgs& args, SHARED AttentionShared& shared, Thread t) {
  const u32 row = args.first_row + t.group_x, dims = Kv::dims(args.head_dim);
  const Sequence sequence = args.batch.sequences[args.batch.row_sequence[row]];
  const KeyRange own = own_keys(args, sequence, static_cast<u32>(args.batch.positions[row]));
  const KeyRange source = source_keys(args, sequence);
  const Parts own_parts = parts_of(own, args.part_chunks), source_parts = parts_of(source, args.part_chunks);

  const u64 at = static_cast<u64>(t.group_x) * args.heads + t.group_y;
  const u64 part_at = static_cast<u64>(t.group_z) * args.rows * args.heads + at;
  GLOBAL const f32* q = args.q + at * args.head_dim;
  GLOBAL f32* acc = args.parts > 1 ? args.acc + part_at * args.head_dim : args.out + at * args.head_dim;
  for (u32 d = t.lane; d < args.head_dim; d += kWarpLanes) acc[d] = 0;

  const bool self = t.group_z < own_parts.n;
  const u32 part = self ? own_parts.first + t.group_z : t.group_z - own_parts.n;
  Running running{minus_infinity(), 0};
  if (self || part < source_parts.n) {
    const KeyRange keys = self ? own : source;
    KvSpan span = sequence.source;
    if (self) span = sequence.self;
    const u32 first = max_u32(keys.begin / kChunkKeys, part * args.part_chunks);
    const u32 last = min_u32(divide_up(keys.end, kChunkKeys), (part + 1) * args.part_chunks);
    const u32 kv_head = t.group_y / (args.heads / args.kv_heads);
    for (u32 c = first; c < last; ++c) {
      const u32 begin = c * kChunkKeys;
      const KeyRange seen{keys.begin > begin ? keys.begin - begin : 0, min_u32(keys.end - begin, kChunkKeys)};
      GLOBAL const u8* head = head_of<Kv>(args.batch, span, c, args.layer, kv_head, dims);
      attend_chunk<Kv>(args, shared, head, dims, seen, q, acc, running, t.lane);
    }
  }
  if (args.parts > 1) {
    if (t.lane == 0) {
      args.state[2 * part_at] = running.largest;
      args.state[2 * part_at + 1] = running.sum;
    }
    return;
  }
  const f32 inverse = inverse_sum(running.sum);
  for (u32 d = t.lane; d < args.head_dim; d += kWarpLanes) acc[d] *= inverse;
}

// What a part weighs among all: 0 where it sees no key, and has a result of zeros.
GPU_FN f32 part_weight(f32 own, f32 largest) {
  const f32 weight = exp2_(own - largest);
  return own > minus_infinity() ? weight : 0;
}
// A head's largest score and sum over all parts, and one dimension of its result. kAtOnce parts are on their way from
// memory together: a device waits for each where they come one after the other.
template <u32 kAtOnce>
GPU_FN Running merged_state(GLOBAL const f32* state, u32 parts, u64 rows, u64 row) {
  Running all{minus_infinity(), 0};
  UNROLL_BY(kAtOnce) for (u32 p = 0; p < parts; ++p) all.largest = max_(all.largest, state[2 * (p * rows + row)]);
  UNROLL_BY(kAtOnce) for (u32 p = 0; p < parts; ++p) {
    GLOBAL const f32* part = state + 2 * (p * rows + row);
    all.sum = mul_add(part[1], part_weight(part[0], all.largest), all.sum);
  }
  return all;
}
template <u32 kAtOnce>
GPU_FN f32 merged_value(GLOBAL const f32* acc, GLOBAL const f32* state, u32 parts, u64 rows, u64 row, u32 head_dim,
                        u32 d, PRIVATE const Running& all) {
  f32 value = 0;
  UNROLL_BY(kAtOnce) for (u32 p = 0; p < parts; ++p) {
    const u64 part = p * rows + row;
    value = mul_add(acc[part * head_dim + d], part_weight(state[2 * part], all.largest), value);
  }
  return value * inverse_sum(all.sum);
}

// Puts parts together, in their order: 128 threads for each row and head, as there can be hundreds of parts.
GPU_FN void attention_merge(CONSTANT AttentionMergeArgs& args, SHARED Nothing&, Thread t) {
  const u64 rows = static_cast<u64>(args.rows) * args.heads;
  const u64 row = static_cast<u64>(t.group_x) * kMergeHeads + t.index / kMergeHeadThreads;
  if (row >= rows) return;
  const Running all = merged_state<8>(args.state, args.parts, rows, row);
  for (u32 d = t.index % kMergeHeadThreads; d < args.head_dim; d += kMergeHeadThreads)
    args.out[row * args.head_dim + d] =
        merged_value<8>(args.acc, args.state, args.parts, rows, row, args.head_dim, d, all);
}

}  // namespace gpu
}  // namespace t5g
