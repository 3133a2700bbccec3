// Row-wise ops. A handful of rows is done by the calling thread: waking the others would take longer.
#include <algorithm>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/rotary.h"

namespace t5g {
namespace {

// Values below which a loop is not worth sharing (a few microseconds of work).
constexpr int64_t kInlineValues = 16384;
// Values of an embedding that are read from a file at a time: whole blocks of every type, at most 4 KB.
constexpr int64_t kReadValues = 1024;

// Of any model (model/config.cc).
constexpr int kMostHeadDim = 1024;

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

// Looked up in the file; nothing is kept of it.
class FileTable final : public Table {
  using Table::Table;
};

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
                     interrupt());
}

std::unique_ptr<Table> CpuOps::load_table(const WeightView& weight) { return std::make_unique<FileTable>(weight); }

void CpuOps::embed(const EmbeddingSpec& spec, BatchRows rows, Tensor out_rows) {
  const HostTensor out = on_host(out_rows);
  const float* special = on_host(spec.special).data;
  for_each_row(out.rows, out.cols, [&](int64_t i) {
    float* row = out.row(i);
    const int32_t id = rows.ids()[static_cast<size_t>(i)];
    if (id == spec.special_id) {
      std::copy_n(special, out.cols, row);
      return;
    }
    read_row(spec.table->weight(), static_cast<size_t>(id), row);
    for (int64_t j = 0; j < out.cols; ++j) row[j] *= spec.scale;
  });
}

void CpuOps::add_rows(Tensor x_rows, const Table& table, int64_t first) {
  const HostTensor x = on_host(x_rows);
  const size_t cols = static_cast<size_t>(x.cols);
  added_.resize(static_cast<size_t>(pool_.n_threads()) * cols);
  pool_.parallel_for(
      x.rows,
      [&](int64_t i, int thread) {
        float* row = x.row(i);
        float* added = added_.data() + static_cast<size_t>(thread) * cols;
        read_row(table.weight(), static_cast<size_t>(first + i), added);
        for (int64_t j = 0; j < x.cols; ++j) row[j] += added[j];
      },
      interrupt());
}

void CpuOps::gather_rows(Tensor x_rows, std::span<const int32_t> rows, Tensor out_rows) {
  const HostTensor x = on_host(x_rows), out = on_host(out_rows);
  for_each_row(out.rows, out.cols,
               [&](int64_t i) { std::copy_n(x.row(rows[static_cast<size_t>(i)]), x.cols, out.row(i)); });
}

void CpuOps::scatter_rows(Tensor x_rows, std::span<const int32_t> rows, Tensor out_rows) {
  const HostTensor x = on_host(x_rows), out = on_host(out_rows);
  for_each_row(x.rows, x.cols,
               [&](int64_t i) { std::copy_n(x.row(i), x.cols, out.row(rows[static_cast<size_t>(i)])); });
}

void CpuOps::rms_norm(Tensor x_rows, Tensor weight, float eps, Tensor out_rows) {
  const HostTensor x = on_host(x_rows), out = on_host(out_rows);
  const float* w = on_host(weight).data;
  for_each_row(x.rows, x.cols, [&](int64_t i) { kernels_.rms_norm(x.row(i), w, eps, x.cols, out.row(i)); });
}

void CpuOps::rms_norm_heads(Tensor x_rows, Tensor weight, float eps) {
  const HostTensor x = on_host(x_rows), w = on_host(weight);
  for_each_row(x.rows, x.cols, [&](int64_t i) {
    for (float* head = x.row(i); head < x.row(i) + x.cols; head += w.cols)
      kernels_.rms_norm(head, w.data, eps, w.cols, head);
  });
}

void CpuOps::add_rms_norm(Tensor x_rows, Tensor a_rows, Tensor weight, float eps) {
  const HostTensor x = on_host(x_rows), a = on_host(a_rows);
  const float* w = on_host(weight).data;
  for_each_row(x.rows, x.cols, [&](int64_t i) { kernels_.add_rms_norm(x.row(i), a.row(i), w, eps, x.cols); });
}

void CpuOps::layer_norm(Tensor x_rows, Tensor weight, Tensor bias, float eps, Tensor out_rows) {
  const HostTensor x = on_host(x_rows), out = on_host(out_rows);
  const float *w = on_host(weight).data, *b = on_host(bias).data;
  for_each_row(x.rows, x.cols, [&](int64_t i) { kernels_.layer_norm(x.row(i), w, b, eps, x.cols, out.row(i)); });
}

std::unique_ptr<Rotary> CpuOps::load_rotary(const RotarySpec& spec) { return std::make_unique<CpuRotary>(spec); }

void CpuOps::rope(Tensor x_rows, BatchRows rows, const Rotary& rotary) {
  const HostTensor x = on_host(x_rows);
  const auto& table = static_cast<const CpuRotary&>(rotary);
  const int head_dim = table.head_dim(), half = head_dim / 2;
  for_each_row(x.rows, x.cols, [&](int64_t i) {
    float cosines[kMostHeadDim / 2], sines[kMostHeadDim / 2];
    kernels_.rope_angles(table.inv_freq(), static_cast<float>(rows.positions()[static_cast<size_t>(i)]), half, cosines,
                         sines);
    for (float* head = x.row(i); head < x.row(i) + x.cols; head += head_dim)
      kernels_.rope(head, cosines, sines, head_dim);
  });
}

}  // namespace t5g
