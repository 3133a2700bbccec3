// How keys and values lie in a slot, and how they come there. For each head: keys [64][dims], values transposed
// [dims][64], both padded with zeros to 16 dims (Q8_0: 32), so that fragments are read straight from device memory.
// Q8_0: behind the bytes of the keys their scales (f32), one for 32 dims of a token: [64][dims / 32]; behind those of
// the values, [dims / 32][64].
#pragma once

#include "kernels/gpu/args.h"
#include "kernels/gpu/prelude.h"

namespace t5g {
namespace gpu {

GPU_FN u32 padded_dims(u32 head_dim, u32 to) { return (head_dim + to - 1) / to * to; }

// Each type: where a value lies and what it is. `head`: keys and values of one head in one chunk. Where there are
// fragments of the type, A and B are they, round() gives the bits of a value, and
// round_weight() those of one from 0 to 1.
struct KvF32 {
  static GPU_FN u32 dims(u32 head_dim) { return padded_dims(head_dim, 16); }
  static GPU_FN u64 head_bytes(u32 dims) { return static_cast<u64>(dims) * 2 * kChunkKeys * 4; }
  static GPU_FN f32 key(GLOBAL const u8* head, u32 dims, u32 slot, u32 d) {
    return reinterpret_cast<GLOBAL const f32*>(head)[slot * dims + d];
  }
  static GPU_FN f32 value(GLOBAL const u8* head, u32 dims, u32 slot, u32 d) {
    return reinterpret_cast<GLOBAL const f32*>(head)[(dims + d) * kChunkKeys + slot];
  }
  // Of 32 dims from `first` on, one from each lane.
  static GPU_FN void store(GLOBAL u8* head, u32 dims, u32 slot, u32 first, u32 lane, f32 k, f32 v) {
    const u32 d = first + lane;
    if (d >= dims) return;
    GLOBAL f32* to = reinterpret_cast<GLOBAL f32*>(head);
    to[slot * dims + d] = k;
    to[(dims + d) * kChunkKeys + slot] = v;
  }
};

struct KvF16 {
  typedef HalfA A;
  typedef HalfB B;
  static GPU_FN u32 round(f32 x) { return float_to_half(x); }
  static GPU_FN u32 round_weight(f32 x) { return small_to_half(x); }
  static GPU_FN u32 dims(u32 head_dim) { return padded_dims(head_dim, 16); }
  static GPU_FN u64 head_bytes(u32 dims) { return static_cast<u64>(dims) * 2 * kChunkKeys * 2; }
  static GPU_FN f32 key(GLOBAL const u8* head, u32 dims, u32 slot, u32 d) {
    return half_to_float(reinterpret_cast<GLOBAL const u16*>(head)[slot * dims + d]);
  }
  static GPU_FN f32 value(GLOBAL const u8* head, u32 dims, u32 slot, u32 d) {
    return half_to_float(reinterpret_cast<GLOBAL const u16*>(head)[(dims + d) * kChunkKeys + slot]);
  }
  static GPU_FN void store(GLOBAL u8* head, u32 dims, u32 slot, u32 first, u32 lane, f32 k, f32 v) {
    const u32 d = first + lane;
    if (d >= dims) return;
    GLOBAL u16* to = reinterpret_cast<GLOBAL u16*>(head);
    to[slot * dims + d] = static_cast<u16>(float_to_half(k));
    to[(dims + d) * kChunkKeys + slot] = static_cast<u16>(float_to_half(v));
  }
};

struct KvBF16 {
  typedef FragA A;
  typedef FragB B;
  static GPU_FN u32 round(f32 x) { return float_to_bf16(x); }
  static GPU_FN u32 round_weight(f32 x) { return float_to_bf16(x); }
  static GPU_FN u32 dims(u32 head_dim) { return padded_dims(head_dim, 16); }
  static GPU_FN u64 head_bytes(u32 dims) { return static_cast<u64>(dims) * 2 * kChunkKeys * 2; }
  static GPU_FN f32 key(GLOBAL const u8* head, u32 dims, u32 slot, u32 d) {
    return bf16_to_float(reinterpret_cast<GLOBAL const u16*>(head)[slot * dims + d]);
  }
  static GPU_FN f32 value(GLOBAL const u8* head, u32 dims, u32 slot, u32 d) {
    return bf16_to_float(reinterpret_cast<GLOBAL const u16*>(head)[(dims + d) * kChunkKeys + slot]);
  }
  static GPU_FN void store(GLOBAL u8* head, u32 dims, u32 slot, u32 first, u32 lane, f32 k, f32 v) {
    const u32 d = first + lane;
    if (d >= dims) return;
    GLOBAL u16* to = reinterpret_cast<GLOBAL u16*>(head);
    to[slot * dims + d] = static_cast<u16>(float_to_bf16(k));
    to[(dims + d) * kChunkKeys + slot] = static_cast<u16>(float_to_bf16(v));
  }
};

struct KvQ8_0 {
  static GPU_FN u32 dims(u32 head_dim) { return padded_dims(head_dim, kBlock); }
  static GPU_FN u64 head_bytes(u32 dims) { return static_cast<u64>(dims / kBlock) * 2 * kChunkKeys * (kBlock + 4); }
  // Of the keys, or of the values.
  static GPU_FN u32 half_bytes(u32 dims) { return dims / kBlock * kChunkKeys * (kBlock + 4); }
  static GPU_FN f32 key(GLOBAL const u8* head, u32 dims, u32 slot, u32 d) {
    const f32 scale =
        reinterpret_cast<GLOBAL const f32*>(head + dims * kChunkKeys)[slot * (dims / kBlock) + d / kBlock];
    return scale * static_cast<f32>(reinterpret_cast<GLOBAL const i8*>(head)[slot * dims + d]);
  }
  static GPU_FN f32 value(GLOBAL const u8* head, u32 dims, u32 slot, u32 d) {
    GLOBAL const u8* values = head + half_bytes(dims);
    const f32 scale = reinterpret_cast<GLOBAL const f32*>(values + dims * kChunkKeys)[d / kBlock * kChunkKeys + slot];
    return scale * static_cast<f32>(reinterpret_cast<GLOBAL const i8*>(values)[d * kChunkKeys + slot]);
  }
  // To the scale as it is stored; the largest of 32 becomes 127.
  static GPU_FN i8 byte_of(f32 x, f32 largest) {
    const f32 inverse = largest > kSmallest ? 127 / largest : 0;
    return static_cast<i8>(round_away(x * inverse));
  }
  static GPU_FN void store(GLOBAL u8* head, u32 dims, u32 slot, u32 first, u32 lane, f32 k, f32 v) {
    const f32 largest_k = lanes_max<kWarpLanes>(abs_(k)), largest_v = lanes_max<kWarpLanes>(abs_(v));
    GLOBAL u8* values = head + half_bytes(dims);
    const u32 d = first + lane;
    reinterpret_cast<GLOBAL i8*>(head)[slot * dims + d] = byte_of(k, largest_k);
    reinterpret_cast<GLOBAL i8*>(values)[d * kChunkKeys + slot] = byte_of(v, largest_v);
    if (lane != 0) return;
    const u32 block = first / kBlock;
    reinterpret_cast<GLOBAL f32*>(head + dims * kChunkKeys)[slot * (dims / kBlock) + block] = largest_k / 127;
    reinterpret_cast<GLOBAL f32*>(values + dims * kChunkKeys)[block * kChunkKeys + slot] = largest_v / 127;
  }
};

// Keys and values of one head in chunk c of a layer.
template <typename Kv>
GPU_FN GLOBAL u8* head_of(CONSTANT BatchView& batch, PRIVATE const KvSpan& span, u32 c, u32 layer, u32 head, u32 dims) {
  return batch.pages[span.first_page + c].data + layer * span.layer_bytes + head * Kv::head_bytes(dims);
}

// One warp per row and head. Rows beyond the sequence's end, which some batches are filled up with, have no place.
template <typename Kv>
GPU_FN void store_kv(CONSTANT StoreKvArgs& args, SHARED Nothing&, Thread t) {
  const u32 row = args.first_row + t.group_x, dims = Kv::dims(args.head_dim);
  const Sequence sequence = args.batch.sequences[args.batch.row_sequence[row]];
  const u32 position = static_cast<u32>(args.batch.positions[row]), slot = position % kChunkKeys;
  if (position >= sequence.self.length) return;
  GLOBAL u8* head = head_of<Kv>(args.batch, sequence.self, position / kChunkKeys, args.layer, t.group_y, dims);
  const u64 from = (static_cast<u64>(t.group_x) * args.kv_heads + t.group_y) * args.head_dim;
  for (u32 first = 0; first < dims; first += kWarpLanes) {
    const u32 d = first + t.lane;
    const f32 k = d < args.head_dim ? args.k[from + d] : 0.f, v = d < args.head_dim ? args.v[from + d] : 0.f;
    Kv::store(head, dims, slot, first, t.lane, k, v);
  }
}

}  // namespace gpu
}  // namespace t5g
