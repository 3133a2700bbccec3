// Rows that are looked up or moved.
#pragma once

#include "kernels/gpu/formats.h"

namespace t5g {
namespace gpu {

template <typename Format>
GPU_FN void embed(CONSTANT TableArgs& args, SHARED Nothing&, Thread t) {
  const u32 cols = args.table.k;
  const i32 id = args.ids[t.group_x];
  GLOBAL f32* out = args.out + static_cast<u64>(t.group_x) * cols;
  if (id == args.special_id) {
    for (u32 i = t.index; i < cols; i += kRowThreads) out[i] = args.special[i];
    return;
  }
  const Weight table = own_weight(args.table);
  const u64 row = static_cast<u64>(id) * row_values(cols);
  for (u32 chunk = t.index * kChunk; chunk < cols; chunk += kRowThreads * kChunk) {
    f32 values[kChunk];
    Format::load(table, row + chunk, values);
    for (u32 i = 0; i < kChunk; ++i) {
      if (chunk + i < cols) out[chunk + i] = values[i] * args.scale;
    }
  }
}

template <typename Format>
GPU_FN void add_rows(CONSTANT TableArgs& args, SHARED Nothing&, Thread t) {
  const u32 cols = args.table.k;
  GLOBAL f32* out = args.out + static_cast<u64>(t.group_x) * cols;
  const Weight table = own_weight(args.table);
  const u64 row = static_cast<u64>(args.first + t.group_x) * row_values(cols);
  for (u32 chunk = t.index * kChunk; chunk < cols; chunk += kRowThreads * kChunk) {
    f32 values[kChunk];
    Format::load(table, row + chunk, values);
    for (u32 i = 0; i < kChunk; ++i) {
      if (chunk + i < cols) out[chunk + i] += values[i];
    }
  }
}

GPU_FN void gather_rows(CONSTANT MoveArgs& args, SHARED Nothing&, Thread t) {
  GLOBAL const f32* from = args.x + static_cast<u64>(args.places[t.group_x]) * args.cols;
  GLOBAL f32* to = args.out + static_cast<u64>(t.group_x) * args.cols;
  for (u32 i = t.index; i < args.cols; i += kRowThreads) to[i] = from[i];
}

GPU_FN void scatter_rows(CONSTANT MoveArgs& args, SHARED Nothing&, Thread t) {
  GLOBAL const f32* from = args.x + static_cast<u64>(t.group_x) * args.cols;
  GLOBAL f32* to = args.out + static_cast<u64>(args.places[t.group_x]) * args.cols;
  for (u32 i = t.index; i < args.cols; i += kRowThreads) to[i] = from[i];
}

GPU_FN void copy_page(CONSTANT CopyArgs& args, SHARED Nothing&, Thread t) {
  const u64 at = static_cast<u64>(t.group_x) * kRowThreads + t.index;
  if (at * 16 < args.bytes)
    reinterpret_cast<GLOBAL Bytes16*>(args.to)[at] = reinterpret_cast<GLOBAL const Bytes16*>(args.from)[at];
}

}  // namespace gpu
}  // namespace t5g
