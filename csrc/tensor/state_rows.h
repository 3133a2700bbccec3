// Rows of hidden states as the host keeps them: exact, or rounded to fewer bits where they are many. Immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/interrupt.h"
#include "quant/types.h"
#include "tensor/buffer.h"

namespace t5g {

// Rows one after the other, of `cols` values each: F32 as they are; F16 and Q8_0 with zeros up to a multiple of 32
// values. Of Q8_0 first the values of a row (int8), then a scale (f32) for each 32 of them; a value is their product.
inline constexpr int64_t kStateBlock = 32;
constexpr int64_t padded_state_cols(DataType type, int64_t cols) {
  return type == DataType::kF32 ? cols : (cols + kStateBlock - 1) / kStateBlock * kStateBlock;
}
constexpr size_t state_row_bytes(DataType type, int64_t cols) {
  const auto padded = static_cast<size_t>(padded_state_cols(type, cols));
  if (type == DataType::kF32) return padded * sizeof(float);
  return type == DataType::kF16 ? 2 * padded : padded + padded / kStateBlock * sizeof(float);
}
constexpr bool is_state_type(DataType type) {
  return type == DataType::kF32 || type == DataType::kF16 || type == DataType::kQ8_0;
}

class StateRows {
 public:
  StateRows(DataType type, int64_t cols, int64_t rows, std::shared_ptr<const Buffer> bytes)
      : type_(type), cols_(cols), rows_(rows), bytes_(std::move(bytes)) {}
  // `floats` [rows, cols] in another type. Numbers beyond the range of F16 become the largest half.
  // Throws Cancelled when the interrupt (or null) says so.
  static StateRows rounded(DataType type, int64_t cols, std::span<const float> floats, Interrupt* interrupt = nullptr);
  // Of floats that nobody needs afterwards: their memory goes back to the system while the other is filled.
  static StateRows rounded(DataType type, int64_t cols, Buffer floats, Interrupt* interrupt = nullptr);

  DataType type() const { return type_; }
  int64_t cols() const { return cols_; }
  int64_t rows() const { return rows_; }
  size_t row_bytes() const { return state_row_bytes(type_, cols_); }
  size_t size_bytes() const { return row_bytes() * static_cast<size_t>(rows_); }
  std::span<const std::byte> bytes() const { return {bytes_->data(), size_bytes()}; }
  // Who has them: for what outlives these rows.
  const std::shared_ptr<const Buffer>& memory() const { return bytes_; }

  // All of them, F32 alone.
  std::span<const float> floats() const {
    return {bytes_->floats(), static_cast<size_t>(rows_) * static_cast<size_t>(cols_)};
  }
  // Rows [first, first + n) as floats, out [n, cols].
  void read(int64_t first, int64_t n, float* out) const;

 private:
  DataType type_;
  int64_t cols_, rows_;
  std::shared_ptr<const Buffer> bytes_;
};

}  // namespace t5g
