// Weights in the form that kernels read (formats.h): made from the file's rows when a model is loaded, in one block of
// device memory with up to three planes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gpu/kernels.h"
#include "quant/types.h"

namespace t5g::gpu {

// Where the planes lie in the block of memory, which is as long as `total_bytes`. A plane that the type lacks is empty.
struct WeightLayout {
  DataType type;
  int64_t rows = 0, cols = 0;
  size_t scales_offset = 0, high_offset = 0, total_bytes = 0;  // values lie at 0
  size_t values_row_bytes = 0, scales_row_bytes = 0, high_row_bytes = 0;

  // For a kernel, the block lying at this device address. k: the columns of x, where those of the weight were padded.
  Weight at(uint64_t address, int64_t k) const;
};

// cols: of the file's rows; quantised types have whole blocks.
WeightLayout weight_layout(DataType type, int64_t rows, int64_t cols);

// n of the file's rows, in the file's type -> those of each plane, in the layout's type: the same, or Q8_0 of a float
// type. Pointers are to the first of these rows in each plane. What is written is as long as n rows of the planes.
void pack_weight(const WeightLayout& layout, DataType from, const std::byte* rows, int64_t n, std::byte* values,
                 std::byte* scales, std::byte* high);

// Bytes of one key/value head in a slot, keys and values; a slot has the heads one after the other.
size_t kv_head_bytes(KvType type, int head_dim);

}  // namespace t5g::gpu
