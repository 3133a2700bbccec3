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
};

}  // namespace t5g
