// Q8_0 matrices split into two planes of 4 bits, so that an upper bound of every output can be had from half of the
// bytes: what finds the largest outputs without computing the others (see ops/cpu/plane_matrix.h).
//
// A weight is q = 16 h + l - 128 with h, l in 0 .. 15. The coarse plane holds the scales and h, the fine plane l. Rows
// go in groups of 16, k in strips of 128 (four blocks). Coarse plane, per group, per strip: the scales [4][16] (f16),
// then for each row 64 bytes: quarter j of them belongs to block j, and its byte p holds value p in the low nibble and
// value p + 16 in the high one. Fine plane: the same without scales. Both together have the size of the original
// blocks. Rows beyond n are zero.
//
// A row's output is the sum over blocks of d s dot(q, x), d and s being the scales of weights and activations. Without
// l, dot(q, x) is known but for dot(l - 7.5, x), which is at most |l - 7.5| |x| (Cauchy and Schwarz). |x| is computed,
// and of |l - 7.5| the largest of a group's 16 rows is kept, in one byte per block. (It hardly differs from row to row:
// one byte for each of them would be read at the cost of 5 % more memory traffic and save 1 %.)
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace t5g::kernels {

// k must be a multiple of this.
inline constexpr int64_t kStripValues = 128;
inline constexpr int kStripBlocks = 4;

inline constexpr size_t coarse_group_bytes(int64_t k) { return static_cast<size_t>(k) * kGroupRows * 9 / 16; }
inline constexpr size_t fine_group_bytes(int64_t k) { return static_cast<size_t>(k) * kGroupRows / 2; }
// One byte per block.
inline constexpr size_t norm_group_bytes(int64_t k) { return static_cast<size_t>(k / kBlock); }

// Splits rows [16 * group, min(16 * group + 16, n)) of a row-major Q8_0 matrix [n, k]. Pointers are to group 0.
// Returns whether all scales are finite; bounds mean nothing where one is not.
bool pack_planes(const std::byte* matrix, int64_t n, int64_t k, int64_t group, std::byte* coarse, std::byte* fine,
                 uint8_t* norms);

// What a quantised row of activations looks like to the planes' kernels. values: [k], in the order of the coarse plane,
// low nibbles' values before high nibbles'. norms: [k / kBlock].
void prepare_plane_input(const QuantizedRows& x, int64_t row, int64_t k, int8_t* values, float* norms);

// Begins to read what score_rows will need of a row.
void prefetch_row(const Planes& weight, int32_t row);

}  // namespace t5g::kernels
