// Q8_0 matrices split into two planes of 4 bits, so that an upper bound of every output can be had from little more
// than half of the bytes: what finds the largest outputs without computing the others (see ops/cpu/head_search.h).
//
// A weight is q = 16 h + l - 128 with h, l in 0 .. 15. The coarse plane holds the scales and h exactly as a packed Q4_0
// matrix does (see pack.h), the fine plane l in the same order without scales. Both together have the size of the
// original blocks, and two operations on a vector of each make one of packed Q8_0. Rows beyond n are zero.
//
// A row's output is the sum over blocks of d s dot(q, x), d and s being the scales of weights and activations. Without
// l, dot(q, x) is known but for dot(l - 7.5, x), which is at most |l - 7.5| |x| (Cauchy and Schwarz). |x| is computed,
// and of |l - 7.5| the largest of a group's 16 rows is kept, in one byte per block. (One for each row would be read at
// the cost of 5 % more memory traffic; a quarter more of the blocks' fine plane leaves fewer rows for as much.)
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/kernels.h"

namespace t5g::kernels {

inline constexpr size_t coarse_group_bytes(int64_t k) { return static_cast<size_t>(k) * kGroupRows * 9 / 16; }
inline constexpr size_t fine_group_bytes(int64_t k) { return static_cast<size_t>(k) * kGroupRows / 2; }
// One byte per block.
inline constexpr size_t norm_group_bytes(int64_t k) { return static_cast<size_t>(k / kBlock); }

// Splits rows [16 * group, min(16 * group + 16, n)) of a row-major Q8_0 matrix [n, k]. Pointers are to group 0.
// Returns whether all scales are finite; bounds mean nothing where one is not.
bool pack_planes(const std::byte* matrix, int64_t n, int64_t k, int64_t group, std::byte* coarse, std::byte* fine,
                 uint8_t* norms);

// What bounds need to know of m rows of activations besides their values. norms, offsets: [m, k / kBlock].
void measure_plane_input(const QuantizedRows& x, int64_t m, int64_t k, float* norms, float* offsets);

}  // namespace t5g::kernels
