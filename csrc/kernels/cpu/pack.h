// Weight rows repacked for the matmul kernels, in groups of 16: one 64-byte vector then holds four consecutive values
// of each of 16 rows (one value of each, for the float types), and an activation is broadcast against it. The layout is
// the same for every ISA level and has the size of the original blocks; it is made at load time and never written to a
// file.
//
// Quantised types, per group, per block of 32 values: first the scales [16] (f16), then the minima [16] (f16; Q4_1 and
// Q5_1), then the values: Q8_0: 8 vectors, vector g = values 4g .. 4g+3 of the 16 rows, int8. Q4_*, Q5_*: 4 vectors,
// vector g = the low 4 bits of values 4g .. 4g+3 in its low nibbles and of values 4g+16 .. 4g+19 in its high ones; Q5_*
// then one vector whose byte p holds in bit g the fifth bit of the value that byte p of vector g (0..7) holds. F32
// and F16, per group: for each k one row of 16 values. BF16, per group: for each pair of k one vector of the pairs of
// 16 rows. Rows beyond n, and the value that an odd k lacks, are zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/kernels.h"
#include "quant/types.h"

namespace t5g::kernels {

// Bytes of one packed group of 16 rows of k values.
size_t packed_group_bytes(DataType type, int64_t k);

// Packs rows [16 * group, min(16 * group + 16, n)) of a row-major matrix [n, k] to `out`, packed_group_bytes() long.
void pack_group(DataType type, const std::byte* matrix, int64_t n, int64_t k, int64_t group, std::byte* out);

// Packs the same rows of a matrix of a float type as Q8_0, each padded with zeros to padded_to_blocks(k) values.
void pack_group_as_q8_0(DataType type, const std::byte* matrix, int64_t n, int64_t k, int64_t group, std::byte* out);
// The other way: the floats that a packed group stands for, out [16, k]. k as it was packed.
void unpack_group(DataType type, const std::byte* group, int64_t k, float* out);
inline constexpr int64_t padded_to_blocks(int64_t k) { return (k + kBlock - 1) / kBlock * kBlock; }

}  // namespace t5g::kernels
