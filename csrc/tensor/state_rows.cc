// The codec of each type, row by row.
#include "tensor/state_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace t5g {
namespace {

constexpr float kLargestHalf = 65504.0f;

void write_f16(const float* row, int64_t cols, std::byte* out) {
  for (int64_t i = 0; i < cols; ++i) {
    const uint16_t half = float_to_half(std::clamp(row[i], -kLargestHalf, kLargestHalf));
    std::memcpy(out + 2 * i, &half, sizeof half);
  }
}

void write_q8_0(const float* row, int64_t cols, std::byte* out) {
  std::byte* scales = out + padded_state_cols(DataType::kQ8_0, cols);
  for (int64_t first = 0; first < cols; first += kStateBlock, scales += sizeof(float)) {
    const int64_t n = std::min(kStateBlock, cols - first);
    float largest = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(row[first + i]));
    const float scale = largest / 127.0f, inverse = scale > 0x1p-120f ? 127.0f / largest : 0.0f;
    std::memcpy(scales, &scale, sizeof scale);
    for (int64_t i = 0; i < n; ++i)
      out[first + i] = static_cast<std::byte>(static_cast<int8_t>(std::nearbyint(row[first + i] * inverse)));
  }
}

void read_f16(const std::byte* row, int64_t cols, float* out) {
  for (int64_t i = 0; i < cols; ++i) {
    uint16_t half;
    std::memcpy(&half, row + 2 * i, sizeof half);
    out[i] = half_to_float(half);
  }
}

void read_q8_0(const std::byte* row, int64_t cols, float* out) {
  const std::byte* scales = row + padded_state_cols(DataType::kQ8_0, cols);
  for (int64_t i = 0; i < cols; ++i) {
    float scale;
    std::memcpy(&scale, scales + i / kStateBlock * static_cast<int64_t>(sizeof scale), sizeof scale);
    out[i] = static_cast<float>(static_cast<int8_t>(row[i])) * scale;
  }
}

}  // namespace

namespace {

constexpr int64_t kRowsTogether = 64;

void write_row(DataType type, const float* row, int64_t cols, std::byte* out) {
  if (type == DataType::kF32) {
    std::memcpy(out, row, state_row_bytes(type, cols));
  } else if (type == DataType::kF16) {
    write_f16(row, cols, out);
  } else {
    write_q8_0(row, cols, out);
  }
}

// Calls done(rows) now and then, with how many rows are not needed any more.
template <typename Done>
StateRows round_rows(DataType type, int64_t cols, std::span<const float> floats, Interrupt* interrupt, Done done) {
  const int64_t rows = cols > 0 ? std::ssize(floats) / cols : 0;
  const size_t row_bytes = state_row_bytes(type, cols);
  auto bytes = std::make_shared<Buffer>(row_bytes * static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) {
    if (i % kRowsTogether == 0 && interrupt != nullptr && interrupt->poll()) throw Cancelled();
    write_row(type, floats.data() + i * cols, cols, bytes->data() + static_cast<size_t>(i) * row_bytes);
    if ((i + 1) % kRowsTogether == 0) done(i + 1);
  }
  return {type, cols, rows, std::move(bytes)};
}

}  // namespace

StateRows StateRows::rounded(DataType type, int64_t cols, std::span<const float> floats, Interrupt* interrupt) {
  return round_rows(type, cols, floats, interrupt, [](int64_t) {});
}

StateRows StateRows::rounded(DataType type, int64_t cols, Buffer floats, Interrupt* interrupt) {
  constexpr size_t kWorthGiving = size_t{8} << 20;
  std::byte* kept = floats.data();
  return round_rows(type, cols, {floats.floats(), floats.size_bytes() / sizeof(float)}, interrupt, [&](int64_t rows) {
    std::byte* const end = floats.data() + rows * cols * static_cast<int64_t>(sizeof(float));
    if (static_cast<size_t>(end - kept) < kWorthGiving) return;
    drop_contents(kept, static_cast<size_t>(end - kept));
    kept = end;
  });
}

void StateRows::read(int64_t first, int64_t n, float* out) const {
  for (int64_t i = first; i < first + n; ++i, out += cols_) {
    const std::byte* row = bytes_->data() + static_cast<size_t>(i) * row_bytes();
    if (type_ == DataType::kF32) {
      std::memcpy(out, row, row_bytes());
    } else if (type_ == DataType::kF16) {
      read_f16(row, cols_, out);
    } else {
      read_q8_0(row, cols_, out);
    }
  }
}

}  // namespace t5g
