// A weight as it lies in the model file: a matrix of blocks, not owned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/mapped_file.h"
#include "quant/types.h"

namespace t5g {

struct WeightView {
  DataType type = DataType::kF32;
  int64_t rows = 0;  // outputs
  int64_t cols = 0;  // inputs
  std::span<const std::byte> bytes;
  const MappedFile* file = nullptr;  // that holds the bytes, so that pages no longer needed can be given back; or none
  // Float types: lets the backend hold and multiply the matrix as Q8_0, with rows padded by zeros to whole blocks. For
  // the few matrices of a quantised model that its file cannot hold in blocks, as their rows are not a multiple of one.
  bool as_q8_0 = false;
};

}  // namespace t5g
