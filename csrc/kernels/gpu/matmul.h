// Linear layers of many rows, in fragments: tiles of 64 x 64 outputs, four warps with 32 x 32 each. Weights and x
// become bfloat16 on their way to the group's memory; the next tile is fetched while this one is multiplied.
//
// F32 weights, and the x that they or F16 weights meet, are sums of three bfloat16, which have all of their 24 bits;
// F16 weights are sums of two. Products of terms that are below 2^-24 of the first are left out.
#pragma once

#include "kernels/gpu/linear.h"

namespace t5g {
namespace gpu {

CONSTEXPR u32 kTileK = 32;
// Values from row to row: 80 bytes, so that eight rows of 16 bytes lie in different banks.
CONSTEXPR u32 kTileStride = kTileK + 8;
CONSTEXPR u32 kTileValues = kMatmulRows * kTileStride;

CONSTEXPR u32 kMostTerms = 3;

// Tiles of x and w: two of each, in turn, or one for each of the terms, at most six, which Metal has memory for. In the
// end, the results.
template <typename Format>
struct MatmulShared {
  enum { kXTiles = Format::kTerms > 1 ? kMostTerms : 2, kWTiles = Format::kTerms > 1 ? Format::kTerms : 2 };
  alignas(16) u16 tiles[(kXTiles + kWTiles) * kTileValues];
};
CONSTEXPR u32 kResultStride = kMatmulCols + 4;

// 16 values of a row of x; zeros beyond its end.
GPU_FN void load_x(CONSTANT LinearArgs& args, u32 row, u32 k, PRIVATE f32 (&out)[kChunk]) {
  GLOBAL const f32* x = args.x + static_cast<u64>(row) * args.k + k;
  if (args.k % 4 == 0 && k + kChunk <= args.k) {
    UNROLL for (u32 i = 0; i < 4; ++i) {
      const Bytes16 four = reinterpret_cast<GLOBAL const Bytes16*>(x)[i];
      UNROLL for (u32 j = 0; j < 4; ++j) out[4 * i + j] = float_of(four.word[j]);
    }
  } else {
    UNROLL for (u32 i = 0; i < kChunk; ++i) out[i] = k + i < args.k ? x[i] : 0.f;
  }
}

// Stored as the nearest bfloat16; what is left stays in `values`.
GPU_FN void put_rounded(PRIVATE f32 (&values)[kChunk], SHARED u16* to) {
  UNROLL for (u32 part = 0; part < 2; ++part) {
    Bytes16 eight;
    UNROLL for (u32 i = 0; i < 4; ++i) {
      const u32 at = 8 * part + 2 * i;
      eight.word[i] = bf16_pair(values[at], values[at + 1]);
      values[at] -= float_of(eight.word[i] << 16);
      values[at + 1] -= float_of(eight.word[i] & 0xFFFF0000u);
    }
    reinterpret_cast<SHARED Bytes16*>(to)[part] = eight;
  }
}

// sums += x w^T for a warp's 32 x 32 outputs and kTileK values.
GPU_FN void multiply_tiles(SHARED const u16* x, SHARED const u16* w, PRIVATE FragC (&sums)[2][4], Thread t) {
  UNROLL for (u32 step = 0; step < kTileK; step += 16) {
    FragA a[2];
    UNROLL for (u32 i = 0; i < 2; ++i) load_a(a[i], x + 16 * i * kTileStride + step, kTileStride, t);
    UNROLL for (u32 j = 0; j < 4; ++j) {
      FragB b;
      load_b(b, w + 8 * j * kTileStride + step, kTileStride, t);
      UNROLL for (u32 i = 0; i < 2; ++i) multiply_add(sums[i][j], a[i], b);
    }
  }
}

template <typename Format>
GPU_FN void matmul(CONSTANT LinearArgs& args, SHARED MatmulShared<Format>& shared, Thread t) {
  CONSTANT Projection& p = args.projections[find_projection(args, t.group_x)];
  const Weight weight = own_weight(p.weight);
  const u32 first_row = t.group_y * kMatmulRows, first_col = (t.group_x - p.first_tile) * kMatmulCols;
  const u32 warp_row = t.warp / 2 * 32, warp_col = t.warp % 2 * 32;
  // What this thread carries from device memory to the tiles: 16 values of one row of each. Those beyond are like the
  // last.
  const u32 own_row = t.index / 2, own_k = t.index % 2 * kChunk, own_at = own_row * kTileStride + own_k;
  const u32 x_row = min_u32(first_row + own_row, args.m - 1);
  const u32 padded = static_cast<u32>(row_values(args.k));
  const u64 w_row = static_cast<u64>(min_u32(first_col + own_row, weight.n - 1)) * padded;
  f32 x[kChunk], w[kChunk];
  FragC sums[2][4];
  UNROLL for (u32 i = 0; i < 2; ++i) { UNROLL for (u32 j = 0; j < 4; ++j) clear(sums[i][j]); }
  load_x(args, x_row, own_k, x);
  Format::load(weight, w_row + own_k, w);
  SHARED u16* x_tiles = shared.tiles;
  SHARED u16* w_tiles = shared.tiles + MatmulShared<Format>::kXTiles * kTileValues;
  u32 stage = 0;
  NO_UNROLL for (u32 k = 0; k < padded; k += kTileK) {
    if (Format::kTerms > 1) {
      group_barrier();  // everyone is through with the tiles before
      UNROLL for (u32 i = 0; i < kMostTerms; ++i) put_rounded(x, x_tiles + i * kTileValues + own_at);
      UNROLL for (u32 j = 0; j < Format::kTerms; ++j) put_rounded(w, w_tiles + j * kTileValues + own_at);
    } else {
      put_rounded(x, x_tiles + stage + own_at);
      put_rounded(w, w_tiles + stage + own_at);
    }
    group_barrier();
    if (k + kTileK < padded) {
      load_x(args, x_row, k + kTileK + own_k, x);
      Format::load(weight, w_row + k + kTileK + own_k, w);
    }
    SHARED const u16* own_x = x_tiles + stage + warp_row * kTileStride;
    SHARED const u16* own_w = w_tiles + stage + warp_col * kTileStride;
    if (Format::kTerms > 1) {
      UNROLL for (u32 i = 0; i < kMostTerms; ++i) {
        UNROLL for (u32 j = 0; j < Format::kTerms; ++j) {
          if (i + j < kMostTerms) multiply_tiles(own_x + i * kTileValues, own_w + j * kTileValues, sums, t);
        }
      }
    } else {
      multiply_tiles(own_x, own_w, sums, t);
      stage = kTileValues - stage;
    }
  }
  // Neighbouring threads store neighbouring columns.
  SHARED f32* results = reinterpret_cast<SHARED f32*>(shared.tiles);
  group_barrier();
  UNROLL for (u32 i = 0; i < 2; ++i) {
    UNROLL for (u32 j = 0; j < 4; ++j) {
      UNROLL for (u32 e = 0; e < 4; ++e) {
        const u32 row = warp_row + 16 * i + element_row(t.lane, e), col = warp_col + 8 * j + element_col(t.lane, e);
        results[row * kResultStride + col] = get(sums[i][j], e);
      }
    }
  }
  group_barrier();
  NO_UNROLL for (u32 at = t.index; at < kMatmulRows * kMatmulCols; at += kMatmulThreads) {
    const u32 row = at / kMatmulCols, col = at % kMatmulCols;
    if (first_row + row < args.m && first_col + col < weight.n)
      finish(p, first_row + row, first_col + col, results[row * kResultStride + col]);
  }
}

}  // namespace gpu
}  // namespace t5g
