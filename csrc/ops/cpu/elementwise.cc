// Row-wise ops. A handful of rows is done by the calling thread: waking the others would take longer.
#include <algorithm>

#include "ops/cpu/cpu_ops.h"

namespace t5g {
namespace {

// Values below which a loop is not worth sharing (a few microseconds of work).
constexpr int64_t kInlineValues = 16384;
// Values of an embedding that are read from a file at a time: whole blocks of every type, at most 4 KB.
constexpr int64_t kReadValues = 1024;

// A row of a table.
void read_row(const WeightView& table, size_t row, float* out) {
  const size_t begin = row * table.bytes_per_row();
  if (table.file == nullptr) return dequantize_row(table.type, table.bytes.data() + begin, table.cols, out);
  alignas(64) std::byte read[kReadValues * sizeof(float)];
  for (int64_t first = 0; first < table.cols; first += kReadValues) {
    const int64_t n = std::min(kReadValues, table.cols - first);
    table.file->read(table.offset + begin + row_bytes(table.type, first), {read, row_bytes(table.type, n)});
    dequantize_row(table.type, read, n, out + first);
  }
}

}  // namespace

void CpuOps::for_each_row(int64_t rows, int64_t values_per_row, FunctionRef<void(int64_t)> body) {
  if (rows * values_per_row <= kInlineValues) {
    for (int64_t i = 0; i < rows; ++i) body(i);
    return;
  }
  const int64_t rows_per_item = std::max<int64_t>(1, kInlineValues / std::max<int64_t>(values_per_row, 1) / 2);
  pool_.parallel_for((rows + rows_per_item - 1) / rows_per_item,
                     [&](int64_t item, int) {
                       const int64_t end = std::min((item + 1) * rows_per_item, rows);
                       for (int64_t i = item * rows_per_item; i < end; ++i) body(i);
                     },
                     interrupt_);
}

void CpuOps::embed(const Matrix& table, std::span<const int32_t> ids, float scale, Tensor out) {
  for_each_row(out.rows, out.cols, [&](int64_t i) {
    float* row = out.row(i);
    read_row(table.weight(), static_cast<size_t>(ids[static_cast<size_t>(i)]), row);
    for (int64_t j = 0; j < out.cols; ++j) row[j] *= scale;
  });
}

void CpuOps::rms_norm(Tensor x, const float* weight, float eps, Tensor out) {
  for_each_row(x.rows, x.cols, [&](int64_t i) { kernels_.rms_norm(x.row(i), weight, eps, x.cols, out.row(i)); });
}

void CpuOps::rms_norm_heads(Tensor x, const float* weight, float eps, int head_dim) {
  for_each_row(x.rows, x.cols, [&](int64_t i) {
    for (float* head = x.row(i); head < x.row(i) + x.cols; head += head_dim)
      kernels_.rms_norm(head, weight, eps, head_dim, head);
  });
}

void CpuOps::add_rms_norm(Tensor x, Tensor a, const float* weight, float eps) {
  for_each_row(x.rows, x.cols, [&](int64_t i) { kernels_.add_rms_norm(x.row(i), a.row(i), weight, eps, x.cols); });
}

void CpuOps::layer_norm(Tensor x, const float* weight, const float* bias, float eps, Tensor out) {
  for_each_row(x.rows, x.cols,
               [&](int64_t i) { kernels_.layer_norm(x.row(i), weight, bias, eps, x.cols, out.row(i)); });
}

void CpuOps::rope(Tensor x, std::span<const int32_t> positions, const RotaryTable& table) {
  const int head_dim = table.head_dim();
  for_each_row(x.rows, x.cols, [&](int64_t i) {
    const int64_t position = positions[static_cast<size_t>(i)];
    for (float* head = x.row(i); head < x.row(i) + x.cols; head += head_dim)
      kernels_.rope(head, table.cosines(position), table.sines(position), head_dim);
  });
}

void CpuOps::add(Tensor x, const float* a) {
  for_each_row(x.rows, 2 * x.cols, [&](int64_t i) {
    float* row = x.row(i);
    const float* added = a + i * x.cols;
    for (int64_t j = 0; j < x.cols; ++j) row[j] += added[j];
  });
}

void CpuOps::softcap(Tensor x, float cap) {
  for_each_row(x.rows, x.cols, [&](int64_t i) { kernels_.softcap(x.row(i), x.cols, cap); });
}

}  // namespace t5g
