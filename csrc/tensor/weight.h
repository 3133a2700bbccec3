// A weight as it lies in the model file: a matrix of blocks, in memory or to be read from the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/input_file.h"
#include "quant/types.h"
#include "tensor/buffer.h"

namespace t5g {

struct WeightView {
  DataType type = DataType::kF32;
  int64_t rows = 0;  // outputs
  int64_t cols = 0;  // inputs
  // Where the weight is in memory, or else the file that has it from `offset` on.
  std::span<const std::byte> bytes = {};
  const InputFile* file = nullptr;
  uint64_t offset = 0;
  // What `bytes` are in, where they are a copy of the file's that may go when the backend has a form of its own.
  std::shared_ptr<const Buffer> copy = nullptr;
  // Float types: lets the backend hold and multiply the matrix as Q8_0, with rows padded by zeros to whole blocks. For
  // the few matrices of a quantised model that its file cannot hold in blocks, as their rows are not a multiple of one.
  bool as_q8_0 = false;

  size_t bytes_per_row() const { return row_bytes(type, cols); }
  size_t size_bytes() const { return static_cast<size_t>(rows) * bytes_per_row(); }
};

// Rows of a weight, one stretch after the other.
class WeightReader {
 public:
  explicit WeightReader(const WeightView& weight) : weight_(weight) {}

  // Rows [first, last), until the next call. Throws what InputFile::read() throws.
  const std::byte* rows(int64_t first, int64_t last);

 private:
  const WeightView& weight_;
  std::unique_ptr<std::byte[]> read_;
  size_t read_bytes_ = 0;
};

}  // namespace t5g
