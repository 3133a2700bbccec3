// Adapters: two thin products in f32, one after the other. The first makes `rank` values of a row, the second adds to
// the layer's output; both matrices are packed as any other of floats, so that every value is summed in one order.
#include <algorithm>
#include <array>
#include <utility>

#include "base/ceil_div.h"
#include "kernels/cpu/pack.h"
#include "ops/cpu/cpu_ops.h"

namespace t5g {
namespace {

// Multiplications that the calling thread has done before others are awake.
constexpr int64_t kInlineProducts = int64_t{1} << 18;
constexpr int64_t kRowsPerItem = 32, kGroupsPerItem = 64;

// A matrix [n, k], packed.
class Packed {
 public:
  Packed(std::span<const float> matrix, int64_t n, int64_t k) : n_(n), k_(k) {
    const size_t group_bytes = kernels::packed_group_bytes(DataType::kF32, k);
    buffer_ = Buffer(static_cast<size_t>(n_groups()) * group_bytes);
    const std::span<const std::byte> bytes = std::as_bytes(matrix);
    for (int64_t group = 0; group < n_groups(); ++group)
      kernels::pack_group(DataType::kF32, bytes.data(), n, k, group,
                          buffer_.data() + static_cast<size_t>(group) * group_bytes);
  }
  int64_t n_groups() const { return ceil_div(n_, kernels::kGroupRows); }

  // y [m, ldy] (+)= x [m, k] W^T, columns of some groups.
  void multiply(const kernels::KernelTable& kernels, int64_t group_begin, int64_t group_end, const float* x, int64_t m,
                float* y, int64_t ldy, bool add) const {
    kernels::MatmulArgs args{};
    args.weight = buffer_.data();
    args.group_begin = group_begin;
    args.group_end = group_end;
    args.n = n_;
    args.k = k_;
    args.m = m;
    args.x = x;
    args.y = y;
    args.ldy = ldy;
    args.add = add;
    kernels.matmul[static_cast<size_t>(DataType::kF32)](args);
  }

 private:
  const int64_t n_, k_;
  Buffer buffer_;
};

class CpuLowRank final : public LowRank {
 public:
  CpuLowRank(std::span<const float> a, std::span<const float> b, int64_t rank)
      : LowRank(std::ssize(b) / rank, std::ssize(a) / rank, rank), a_(a, rank, cols()), b_(b, rows(), rank) {}
  const Packed& a() const { return a_; }
  const Packed& b() const { return b_; }

 private:
  const Packed a_, b_;
};

}  // namespace

std::unique_ptr<LowRank> CpuOps::load_low_rank(std::span<const float> a, std::span<const float> b, int64_t rank) {
  return std::make_unique<CpuLowRank>(a, b, rank);
}

void CpuOps::add_low_rank(Tensor x, std::span<const LowRankProduct> products) {
  if (add_together(on_host(x), products)) return;
  for (const LowRankProduct& product : products) add_low_rank(on_host(x), product, on_host(product.out));
}

// Several products of few rows, each with an output of its own, as those of queries, keys and values in a decode step:
// one alone gives threads nothing to share. False: they are no such ones.
bool CpuOps::add_together(HostTensor x, std::span<const LowRankProduct> products) {
  struct Part {
    const CpuLowRank* w;
    float* inner;
    HostTensor out;
    int64_t first_item;
  };
  std::array<Part, 4> parts;
  if (products.size() < 2 || products.size() > parts.size()) return false;
  int64_t n_values = 0, n_items = 0;
  for (size_t i = 0; i < products.size(); ++i) {
    const LowRankProduct& product = products[i];
    const auto is_same = [&](const LowRankProduct& other) {
      return other.out.storage == product.out.storage && other.out.offset == product.out.offset;
    };
    if (product.n > kRowsPerItem || std::ranges::any_of(products.first(i), is_same)) return false;
    n_values += product.n * product.weight->rank();
  }
  const size_t needed = static_cast<size_t>(n_values) * sizeof(float);
  if (low_rank_.size_bytes() < needed) low_rank_ = Buffer(needed);
  float* inner = low_rank_.floats();
  for (size_t i = 0; i < products.size(); ++i) {
    const auto& w = static_cast<const CpuLowRank&>(*products[i].weight);
    parts[i] = {&w, inner, on_host(products[i].out), n_items};
    inner += products[i].n * w.rank();
    n_items += ceil_div(w.b().n_groups(), kGroupsPerItem);
  }
  pool_.parallel_for(
      std::ssize(products),
      [&](int64_t i, int) {
        const LowRankProduct& product = products[static_cast<size_t>(i)];
        const auto& [w, rows, out, first_item] = parts[static_cast<size_t>(i)];
        w->a().multiply(kernels_, 0, w->a().n_groups(), x.row(product.first), product.n, rows, w->rank(), false);
        for (int64_t k = 0; k < product.n * w->rank(); ++k) rows[k] *= product.scale;
      },
      interrupt());
  pool_.parallel_for(
      n_items,
      [&](int64_t item, int) {
        size_t i = products.size() - 1;
        while (item < parts[i].first_item) --i;
        const auto& [w, rows, out, first_item] = parts[i];
        const int64_t begin = (item - first_item) * kGroupsPerItem;
        w->b().multiply(kernels_, begin, std::min(begin + kGroupsPerItem, w->b().n_groups()), rows, products[i].n,
                        out.row(products[i].first), out.cols, true);
      },
      interrupt());
  return true;
}

void CpuOps::add_low_rank(HostTensor x, const LowRankProduct& product, HostTensor out) {
  const auto& w = static_cast<const CpuLowRank&>(*product.weight);
  const int64_t rank = w.rank(), n_groups = w.b().n_groups();
  const size_t needed = static_cast<size_t>(product.n * rank) * sizeof(float);
  if (low_rank_.size_bytes() < needed) low_rank_ = Buffer(needed);
  float* const inner = low_rank_.floats();
  const auto down = [&](int64_t first, int64_t n) {
    float* const rows = inner + first * rank;
    w.a().multiply(kernels_, 0, w.a().n_groups(), x.row(product.first + first), n, rows, rank, false);
    for (int64_t i = 0; i < n * rank; ++i) rows[i] *= product.scale;
  };
  const auto up = [&](int64_t first, int64_t n, int64_t group_begin, int64_t group_end) {
    w.b().multiply(kernels_, group_begin, group_end, inner + first * rank, n, out.row(product.first + first), out.cols,
                   true);
  };
  if (product.n * rank * (w.cols() + w.rows()) <= kInlineProducts) {
    down(0, product.n);
    up(0, product.n, 0, n_groups);
    return;
  }
  const int64_t row_items = ceil_div(product.n, kRowsPerItem), group_items = ceil_div(n_groups, kGroupsPerItem);
  const auto rows_of = [&](int64_t item) {
    const int64_t first = item * kRowsPerItem;
    return std::pair(first, std::min(kRowsPerItem, product.n - first));
  };
  pool_.parallel_for(
      row_items, [&](int64_t item, int) { down(rows_of(item).first, rows_of(item).second); }, interrupt());
  pool_.parallel_for(
      row_items * group_items,
      [&](int64_t item, int) {
        const auto [first, n] = rows_of(item / group_items);
        const int64_t begin = item % group_items * kGroupsPerItem;
        up(first, n, begin, std::min(begin + kGroupsPerItem, n_groups));
      },
      interrupt());
}

void CpuOps::geglu(Tensor gate, Tensor up) {
  const HostTensor g = on_host(gate), u = on_host(up);
  for_each_row(g.rows, g.cols, [&](int64_t i) { kernels_.geglu(g.row(i), u.row(i), g.cols, g.row(i)); });
}

void CpuOps::bias_gelu(Tensor x_rows, Tensor bias_row) {
  const HostTensor x = on_host(x_rows);
  const float* bias = on_host(bias_row).data;
  for_each_row(x.rows, x.cols, [&](int64_t i) { kernels_.bias_gelu(x.row(i), bias, x.cols); });
}

}  // namespace t5g
