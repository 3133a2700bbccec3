// Linear layers: the input is quantised once, then groups of weight rows are handed out to the threads.
#include <algorithm>

#include "base/ceil_div.h"
#include "kernels/cpu/pack.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/weight_groups.h"

namespace t5g {
namespace {

// Groups that one item of a loop packs: a few hundred KB, so that threads share the work.
constexpr int64_t kPackGroups = 32;
// Several groups per item keep a matrix-vector product's independent sums in flight.
constexpr int64_t kMinGroupsPerItem = 4;
constexpr int64_t kItemsPerThread = 6;

}  // namespace

CpuMatrix::CpuMatrix(const WeightView& weight, Arena& arena) : Matrix(weight), arena_(arena) {
  arena_.announce(packed_bytes());
}

int64_t CpuMatrix::n_groups() const { return ceil_div(rows(), kernels::kGroupRows); }

DataType CpuMatrix::packed_type() const {
  return weight_.as_q8_0 && !is_quantized(weight_.type) ? DataType::kQ8_0 : weight_.type;
}

int64_t CpuMatrix::packed_cols() const {
  return is_quantized(packed_type()) ? kernels::padded_to_blocks(cols()) : cols();
}

size_t CpuMatrix::packed_bytes() const {
  return kernels::packed_group_bytes(packed_type(), packed_cols()) * static_cast<size_t>(n_groups());
}

void CpuMatrix::pack_groups(int64_t begin, int64_t end) const {
  const auto pack_one = packed_type() == weight_.type ? kernels::pack_group : kernels::pack_group_as_q8_0;
  const size_t group_bytes = kernels::packed_group_bytes(packed_type(), packed_cols());
  for_groups_of(weight_, begin, end, [&](int64_t group, const std::byte* data, int64_t n_rows) {
    pack_one(weight_.type, data, n_rows, cols(), 0, packed_ + static_cast<size_t>(group) * group_bytes);
  });
}

void CpuMatrix::pack(ThreadPool& pool, Interrupt* interrupt) const {
  if (is_packed_) return;
  if (packed_ == nullptr) packed_ = arena_.take(packed_bytes());
  pool.parallel_for(
      ceil_div(n_groups(), kPackGroups),
      [&](int64_t item, int) { pack_groups(item * kPackGroups, std::min((item + 1) * kPackGroups, n_groups())); },
      interrupt);
  is_packed_ = true;
  drop_copy();
}

std::unique_ptr<Matrix> CpuOps::load(const WeightView& weight) { return std::make_unique<CpuMatrix>(weight, packed_); }

void QuantizedActivations::reshape(int64_t rows, int64_t k) {
  const size_t values_bytes = static_cast<size_t>(rows * k);
  const size_t n_blocks = values_bytes / static_cast<size_t>(kernels::kBlock);
  const size_t scales_at = (values_bytes + 63) / 64 * 64;
  const size_t needed = scales_at + n_blocks * (sizeof(float) + sizeof(int32_t));
  if (buffer_.size_bytes() < needed) buffer_ = Buffer(needed);
  k_ = k;
  values_ = reinterpret_cast<int8_t*>(buffer_.data());
  scales_ = reinterpret_cast<float*>(buffer_.data() + scales_at);
  sums_ = reinterpret_cast<int32_t*>(scales_ + n_blocks);
}

void QuantizedActivations::set(const kernels::KernelTable& kernels, int64_t row, int64_t column, const float* x,
                               int64_t n) {
  const int64_t value = row * k_ + column, block = value / kernels::kBlock;
  kernels.quantize_row(x, n, values_ + value, scales_ + block, sums_ + block);
}

kernels::QuantizedRows CpuOps::quantize(HostTensor x) {
  const int64_t left = x.cols % kernels::kBlock, whole = x.cols - left;
  quantized_.reshape(x.rows, kernels::padded_to_blocks(x.cols));
  for_each_row(x.rows, x.cols, [&](int64_t i) {
    quantized_.set(kernels_, i, 0, x.row(i), whole);
    if (left > 0) {
      float last[kernels::kBlock] = {};
      std::copy_n(x.row(i) + whole, left, last);
      quantized_.set(kernels_, i, whole, last, kernels::kBlock);
    }
  });
  return quantized_.rows();
}

const uint16_t* CpuOps::round(HostTensor x) {
  const int64_t k = kernels::padded_to_pairs(x.cols);
  const size_t needed = static_cast<size_t>(x.rows * k) * sizeof(uint16_t);
  if (rounded_.size_bytes() < needed) rounded_ = Buffer(needed);
  auto* rounded = reinterpret_cast<uint16_t*>(rounded_.data());
  for_each_row(x.rows, x.cols, [&](int64_t i) { kernels_.round_row(x.row(i), x.cols, rounded + i * k); });
  return rounded;
}

void CpuOps::linear(Tensor x, std::span<const Projection> projections) {
  products_.clear();
  for (const Projection& p : projections)
    products_.push_back({&on_cpu(*p.weight), on_host(p.out), on_host(p.bias).data, p.add});
  multiply(on_host(x), products_);
}

void CpuOps::multiply(HostTensor x, std::span<const Product> products) {
  bool any_quantized = false, any_bf16 = false;
  for (const Product& product : products) {
    const DataType type = product.weight->packed_type();
    any_quantized |= is_quantized(type);
    any_bf16 |= type == DataType::kBF16;
  }
  if (x.rows == 0) return;
  multiply({.rows = x.rows,
            .floats = x.data,
            .bf16 = any_bf16 ? round(x) : nullptr,
            .quantized = any_quantized ? quantize(x) : kernels::QuantizedRows{}},
           products);
}

void CpuOps::multiply(const MatmulInput& x, std::span<const Product> products) {
  int64_t total_groups = 0;
  for (const Product& product : products) {
    product.weight->pack(pool_, interrupt());
    total_groups += product.weight->n_groups();
  }
  const int64_t per_item = std::max(
      kMinGroupsPerItem, total_groups / (pool_.n_threads() * kItemsPerThread) / kMinGroupsPerItem * kMinGroupsPerItem);
  int64_t n_items = 0;
  for (const Product& product : products) n_items += ceil_div(product.weight->n_groups(), per_item);

  pool_.parallel_for(
      n_items,
      [&](int64_t item, int) {
        for (const Product& product : products) {
          const CpuMatrix& matrix = *product.weight;
          const int64_t items = ceil_div(matrix.n_groups(), per_item);
          if (item >= items) {
            item -= items;
            continue;
          }
          kernels::MatmulArgs args{};
          args.weight = matrix.packed();
          args.group_begin = item * per_item;
          args.group_end = std::min(args.group_begin + per_item, matrix.n_groups());
          args.n = matrix.rows();
          args.k = matrix.packed_cols();
          args.m = x.rows;
          args.x = x.floats;
          args.x_bf16 = x.bf16;
          args.x_q = x.quantized;
          args.y = product.out.data;
          args.ldy = product.out.cols;
          args.bias = product.bias;
          args.add = product.add;
          kernels_.matmul[static_cast<size_t>(matrix.packed_type())](args);
          return;
        }
      },
      interrupt());
}

}  // namespace t5g
