// A non-owning view of rows of floats: what the model's code passes around. Activations are always f32 and row-major.
#pragma once

#include <cassert>
#include <cstdint>

namespace t5g {

struct Tensor {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;

  float* row(int64_t i) const {
    assert(i >= 0 && i < rows);
    return data + i * cols;
  }
  int64_t size() const { return rows * cols; }

  // The rows [begin, end).
  Tensor slice(int64_t begin, int64_t end) const {
    assert(0 <= begin && begin <= end && end <= rows);
    return {data + begin * cols, end - begin, cols};
  }
};

}  // namespace t5g
