// The kernels of matrices that are split into planes of 4 bits (see kernels/planes.h). One pass over a group serves
// several rows of activations, whose sums stay in registers.
#pragma once

#include "kernels/cpu/common/formats.h"
#include "kernels/cpu/common/matmul.h"
#include "kernels/cpu/common/unroll.h"
#include "kernels/cpu/kernels.h"

namespace t5g::kernels {
namespace {

constexpr int kFineBlockBytes = 4 * kVectorBytes;
constexpr int kCoarseBlockBytes = PackedQ4_0::kBlockBytes;
// Groups ahead of the one in work of which an exact block is fetched: these reads lie too far apart for the processor
// to see their order.
constexpr int kGroupsAhead = 4;

// The integer products of one block with both planes, as those of PackedQ8_0.
template <int kRows>
inline void dot_planes(const std::byte* coarse, const std::byte* fine, const int8_t* x, int64_t k,
                       I32x16 (&dots)[kRows]) {
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) dots[r] = splat(0);
  T5G_UNROLL
  for (int step = 0; step < 4; ++step) {
    const Bytes64 high = load_bytes(coarse + kHalvesBytes + step * kVectorBytes);
    const Bytes64 low = load_bytes(fine + step * kVectorBytes);
    const SignedBytes first = signed_bytes(flip_top_bits(join_low_nibbles(high, low)));
    const SignedBytes second = signed_bytes(flip_top_bits(join_high_nibbles(high, low)));
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) {
      dots[r] = dot_signed(dots[r], first, load_quad(x + r * k + 4 * step));
      dots[r] = dot_signed(dots[r], second, load_quad(x + r * k + 4 * step + 16));
    }
  }
}

// sums += scales of weights and activations times the products: the same operations as in the Q8_0 matrix product.
template <int kRows>
inline void add_exact_block(const std::byte* coarse, const std::byte* fine, const QuantizedRows& x, int64_t at,
                            int64_t k, F32x16 (&sums)[kRows]) {
  I32x16 dots[kRows];
  dot_planes(coarse, fine, x.values + at * kBlock, k, dots);
  const F32x16 scales = load_f16(coarse);
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const int64_t block = at + r * (k / kBlock);
    if constexpr (kSignedOffsetLog2 >= 0) dots[r] = dots[r] - shift_left<kSignedOffsetLog2>(splat(x.sums[block]));
    sums[r] = fma(to_float(dots[r]), scales * splat(x.scales[block]), sums[r]);
  }
}

// sums += what the coarse plane says of a block.
template <int kRows>
inline void add_coarse_block(const std::byte* coarse, const PlaneRows& x, int64_t at, int64_t k,
                             F32x16 (&sums)[kRows]) {
  I32x16 dots[1][kRows];
  dot_block<PackedQ4_0>(coarse, 0, x.q.values + at * kBlock, k, dots);
  const F32x16 scales = load_f16(coarse);
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const int64_t block = at + r * (k / kBlock);
    sums[r] = fma(scales, splat(x.offsets[block]), sums[r]);
    sums[r] = fma(to_float(dots[0][r]), scales * splat(16 * x.q.scales[block]), sums[r]);
  }
}

// The next group is fetched meanwhile, but for one that follows at once: the processor's own prefetching knows it, and
// asking for it too cost 15 % of the speed.
template <int kRows>
void score_tile(const PlaneScoreArgs& args, int64_t i, int64_t row) {
  const Planes& w = args.weight;
  const int64_t n_blocks = w.k / kBlock, group = args.groups[i], next = args.groups[i + 1 < args.n_groups ? i + 1 : i];
  const std::byte* coarse = w.coarse + group * n_blocks * kCoarseBlockBytes;
  const std::byte* fine = w.fine + group * n_blocks * kFineBlockBytes;
  const int64_t to_next = (next - group) * n_blocks;
  F32x16 sums[kRows];
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) sums[r] = splat(0.0f);
  for (int64_t b = 0; b < n_blocks; ++b, coarse += kCoarseBlockBytes, fine += kFineBlockBytes) {
    if (row == 0 && next != group + 1) {
      prefetch<kCoarseBlockBytes>(coarse + to_next * kCoarseBlockBytes);
      prefetch<kFineBlockBytes>(fine + to_next * kFineBlockBytes);
    }
    add_exact_block(coarse, fine, args.x, row * n_blocks + b, w.k, sums);
  }
  const int64_t n_left = w.n - group * kGroupRows;
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    float* y = args.y + (row + r) * args.ldy + i * kGroupRows;
    if (n_left >= kGroupRows) {
      store(y, sums[r]);
    } else {
      store_first(y, sums[r], static_cast<int>(n_left));
    }
  }
}

// Upper bounds of a group's outputs. A term of the sum is at most 369 sqrt(32) d |x| here and 128 sqrt(32) d |x| in the
// exact score, sums of k / 32 blocks are rounded at most 3 k / 32 + 1 times here and k / 32 + 1 times there, each by
// 2^-24: all that is within `slack` of the norms.
template <int kRows>
void bound_tile(const BoundArgs& args, int64_t group, int64_t row) {
  const Planes& w = args.weight;
  const int64_t n_blocks = w.k / kBlock;
  const float slack = static_cast<float>(n_blocks + 4) * 0x1p-11f;
  const std::byte* coarse = w.coarse + group * n_blocks * kCoarseBlockBytes;
  const std::byte* fine = w.fine + group * n_blocks * kFineBlockBytes;
  const uint8_t* norms = w.norms + group * n_blocks;
  F32x16 sums[kRows];
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) sums[r] = splat(1e-30f);  // what underflow can do
  for (int64_t b = 0; b < n_blocks; ++b, coarse += kCoarseBlockBytes, fine += kFineBlockBytes) {
    const int64_t at = row * n_blocks + b;
    prefetch<kCoarseBlockBytes>(coarse + kAhead);
    float unknown = slack;
    if (args.exact[b]) {
      prefetch<kFineBlockBytes>(fine + kGroupsAhead * n_blocks * kFineBlockBytes);
      add_exact_block(coarse, fine, args.x.q, at, w.k, sums);
    } else {
      unknown += static_cast<float>(norms[b]) * kPlaneNormUnit;
      add_coarse_block(coarse, args.x, at, w.k, sums);
    }
    const F32x16 reach = abs(load_f16(coarse)) * splat(unknown);
    T5G_UNROLL
    for (int r = 0; r < kRows; ++r) sums[r] = fma(reach, splat(args.x.norms[at + r * n_blocks]), sums[r]);
  }
  const int64_t column = group - args.group_begin;
  T5G_UNROLL
  for (int r = 0; r < kRows; ++r) {
    store(args.bounds + (row + r) * args.ldb + column * kGroupRows, sums[r]);
    args.group_bounds[(row + r) * args.ldg + column] = max_lane(sums[r]);
  }
}

constexpr int kPlaneRows = Tiles::kQuantizedGroups == 1 ? Tiles::kQuantizedRows : 8;

template <int kRows>
void sweep_scores(const PlaneScoreArgs& args, int64_t i, int64_t row) {
  for (; row + kRows <= args.m; row += kRows) score_tile<kRows>(args, i, row);
  if constexpr (kRows > 1) {
    if (row < args.m) sweep_scores<kRows - 1>(args, i, row);
  }
}

template <int kRows>
void sweep_bounds(const BoundArgs& args, int64_t group, int64_t row) {
  for (; row + kRows <= args.m; row += kRows) bound_tile<kRows>(args, group, row);
  if constexpr (kRows > 1) {
    if (row < args.m) sweep_bounds<kRows - 1>(args, group, row);
  }
}

void score_groups(const PlaneScoreArgs& args) {
  for (int64_t i = 0; i < args.n_groups; ++i) sweep_scores<kPlaneRows>(args, i, 0);
}

void bound_groups(const BoundArgs& args) {
  for (int64_t group = args.group_begin; group < args.group_end; ++group) sweep_bounds<kPlaneRows>(args, group, 0);
}

}  // namespace
}  // namespace t5g::kernels
