// How weights lie in device memory: rows of whole blocks of 32 values, padded with zeros, in planes, so that every read
// is of 8 or 16 aligned bytes. A chunk is 16 values of one row.
//   F32, F16, BF16: values as they are.
//   Q8_0: a chunk is 16 signed bytes.
//   Q4_*, Q5_*: a chunk is 8 bytes; low nibbles of word w: values 8 w .. 8 w + 3, high ones: 8 w + 4 .. 8 w + 7, so
//   that
//         one mask makes bytes of four neighbours. Q5_*: `high` has one word a block, bit i: the fifth bit of value i.
// `scales` has one half a block, or two where there is a minimum: scale, minimum.
// A weight is scale * (byte - kOffset) + minimum. kTerms: bfloat16 that it is the sum of, in types with blocks near
// enough (matmul.h).
#pragma once

#include "kernels/gpu/args.h"
#include "kernels/gpu/prelude.h"

namespace t5g {
namespace gpu {

CONSTEXPR u32 kChunk = 16;

// Sixteen values as signed bytes.
struct Chunk16 {
  u32 word[4];
};

// The thread's own copy of a weight, which formats read.
GPU_FN Weight own_weight(CONSTANT Weight& w) { return Weight{w.values, w.scales, w.high, w.n, w.k}; }

// Of a row: from one to the next, in values.
GPU_FN u64 row_values(u32 k) { return (static_cast<u64>(k) + kBlock - 1) / kBlock * kBlock; }

struct F32 {
  enum { kIsQuantized = 0, kTerms = 3 };
  static GPU_FN void load(Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) {
    GLOBAL const Bytes16* from = reinterpret_cast<GLOBAL const Bytes16*>(w.values + 4 * at);
    UNROLL for (u32 i = 0; i < 4; ++i) {
      const Bytes16 four = from[i];
      UNROLL for (u32 j = 0; j < 4; ++j) out[4 * i + j] = float_of(four.word[j]);
    }
  }
};

struct F16 {
  enum { kIsQuantized = 0, kTerms = 2 };
  static GPU_FN void load(Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) {
    GLOBAL const Bytes16* from = reinterpret_cast<GLOBAL const Bytes16*>(w.values + 2 * at);
    UNROLL for (u32 i = 0; i < 2; ++i) {
      const Bytes16 eight = from[i];
      UNROLL for (u32 j = 0; j < 8; ++j) out[8 * i + j] =
          half_to_float(static_cast<u16>(eight.word[j / 2] >> (j % 2 * 16) & 0xFFFFu));
    }
  }
};

struct BF16 {
  enum { kIsQuantized = 0, kTerms = 1 };
  static GPU_FN void load(Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) {
    GLOBAL const Bytes16* from = reinterpret_cast<GLOBAL const Bytes16*>(w.values + 2 * at);
    UNROLL for (u32 i = 0; i < 2; ++i) {
      const Bytes16 eight = from[i];
      UNROLL for (u32 j = 0; j < 8; ++j) out[8 * i + j] = bf16_to_float(eight.word[j / 2] >> (j % 2 * 16) & 0xFFFFu);
    }
  }
};

// ---- Quantised types ------------------------------------------------------------------------------------------------

struct Scale {
  f32 scale, minimum;
};
template <typename Format>
GPU_FN Scale scale_of(Weight w, u64 at) {
  if (Format::kHasMinimum == 0) return Scale{half_to_float(w.scales[at / kBlock]), 0};
  const u32 both = reinterpret_cast<GLOBAL const u32*>(w.scales)[at / kBlock];
  return Scale{half_to_float(static_cast<u16>(both & 0xFFFFu)), half_to_float(static_cast<u16>(both >> 16))};
}

template <typename Format>
GPU_FN void load_quantized(Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) {
  const Chunk16 bytes = Format::unpack(Format::fetch(w, at));
  const Scale s = scale_of<Format>(w, at);
  UNROLL for (u32 i = 0; i < kChunk; ++i) {
    const f32 value = signed_byte(bytes.word[i / 4], i % 4) - static_cast<f32>(static_cast<i32>(Format::kOffset));
    out[i] = mul_add(value, s.scale, s.minimum);
  }
}

struct RawBytes {
  Bytes16 bytes;
};
struct RawNibbles {
  Bytes8 low;
};
struct RawFive {
  Bytes8 low;
  u32 high;
};

GPU_FN RawBytes fetch_bytes(Weight w, u64 at) {
  return RawBytes{load_once(reinterpret_cast<GLOBAL const Bytes16*>(w.values + at))};
}
GPU_FN RawNibbles fetch_nibbles(Weight w, u64 at) {
  return RawNibbles{load_once(reinterpret_cast<GLOBAL const Bytes8*>(w.values + at / 2))};
}
GPU_FN RawFive fetch_five(Weight w, u64 at) {
  return RawFive{load_once(reinterpret_cast<GLOBAL const Bytes8*>(w.values + at / 2)),
                 w.high[at / kBlock] >> static_cast<u32>(at % kBlock)};
}

GPU_FN Chunk16 unpack_nibbles(Bytes8 raw) {
  return Chunk16{{raw.word[0] & 0x0F0F0F0Fu, raw.word[0] >> 4 & 0x0F0F0F0Fu,  //
                  raw.word[1] & 0x0F0F0F0Fu, raw.word[1] >> 4 & 0x0F0F0F0Fu}};
}
GPU_FN Chunk16 unpack_five(RawFive raw) {
  Chunk16 bytes = unpack_nibbles(raw.low);
  // The multiplication takes four bits to the lowest bits of four bytes.
  UNROLL for (u32 i = 0; i < 4; ++i) bytes.word[i] |= ((raw.high >> (4 * i) & 15u) * 0x00204081u & 0x01010101u) << 4;
  return bytes;
}

struct Q8_0 {
  enum { kIsQuantized = 1, kTerms = 1, kOffset = 0, kHasMinimum = 0 };
  typedef RawBytes Raw;
  static GPU_FN Raw fetch(Weight w, u64 at) { return fetch_bytes(w, at); }
  static GPU_FN Chunk16 unpack(Raw raw) {
    return Chunk16{{raw.bytes.word[0], raw.bytes.word[1], raw.bytes.word[2], raw.bytes.word[3]}};
  }
  static GPU_FN void load(Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) { load_quantized<Q8_0>(w, at, out); }
};
struct Q5_1 {
  enum { kIsQuantized = 1, kTerms = 1, kOffset = 0, kHasMinimum = 1 };
  typedef RawFive Raw;
  static GPU_FN Raw fetch(Weight w, u64 at) { return fetch_five(w, at); }
  static GPU_FN Chunk16 unpack(Raw raw) { return unpack_five(raw); }
  static GPU_FN void load(Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) { load_quantized<Q5_1>(w, at, out); }
};
struct Q5_0 {
  enum { kIsQuantized = 1, kTerms = 1, kOffset = 16, kHasMinimum = 0 };
  typedef RawFive Raw;
  static GPU_FN Raw fetch(Weight w, u64 at) { return fetch_five(w, at); }
  static GPU_FN Chunk16 unpack(Raw raw) { return unpack_five(raw); }
  static GPU_FN void load(Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) { load_quantized<Q5_0>(w, at, out); }
};
struct Q4_1 {
  enum { kIsQuantized = 1, kTerms = 1, kOffset = 0, kHasMinimum = 1 };
  typedef RawNibbles Raw;
  static GPU_FN Raw fetch(Weight w, u64 at) { return fetch_nibbles(w, at); }
  static GPU_FN Chunk16 unpack(Raw raw) { return unpack_nibbles(raw.low); }
  static GPU_FN void load(Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) { load_quantized<Q4_1>(w, at, out); }
};
struct Q4_0 {
  enum { kIsQuantized = 1, kTerms = 1, kOffset = 8, kHasMinimum = 0 };
  typedef RawNibbles Raw;
  static GPU_FN Raw fetch(Weight w, u64 at) { return fetch_nibbles(w, at); }
  static GPU_FN Chunk16 unpack(Raw raw) { return unpack_nibbles(raw.low); }
  static GPU_FN void load(Weight w, u64 at, PRIVATE f32 (&out)[kChunk]) { load_quantized<Q4_0>(w, at, out); }
};

}  // namespace gpu
}  // namespace t5g
