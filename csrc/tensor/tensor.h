// Rows of floats somewhere on a device: what the model's code passes around. It says where the rows are and how many;
// only a backend opens it (the CPU's with ops/cpu/host.h). Activations are always f32 and row-major.
#pragma once

#include <cassert>
#include <cstdint>

#include "tensor/storage.h"

namespace t5g {

// A view; the storage must outlive it.
struct Tensor {
  Storage* storage = nullptr;  // none: there is no tensor, where one is optional
  int64_t offset = 0;          // floats from the beginning of the storage
  int64_t rows = 0;
  int64_t cols = 0;

  int64_t size() const { return rows * cols; }
  explicit operator bool() const { return storage != nullptr; }

  // The rows [begin, end).
  Tensor slice(int64_t begin, int64_t end) const {
    assert(0 <= begin && begin <= end && end <= rows);
    return {storage, offset + begin * cols, end - begin, cols};
  }
};

}  // namespace t5g
