// Linear layers and what is made of them.
#include <algorithm>
#include <array>

#include "ops/gpu/gpu_ops.h"

namespace t5g::gpu {
namespace {

u32 tiles(int64_t n, u32 per_tile) { return static_cast<u32>((n + per_tile - 1) / per_tile); }

}  // namespace

// How many of the first products share a launch: neighbours of one type.
size_t GpuOps::together(std::span<const Product> products) {
  size_t n = 1;
  while (n < std::min<size_t>(products.size(), kMaxProjections) &&
         products[n].weight->type() == products[0].weight->type())
    ++n;
  return n;
}

// -> tiles of all of them.
u32 GpuOps::project(std::span<const Product> products, u32 tile_cols, gpu::Projection* projections) {
  u32 columns = 0;
  for (const Product& product : products) {
    gpu::Projection& to = *projections++;
    to.weight = product.weight->weight();
    to.bias = pointer_to<const f32>(product.bias);
    to.out = pointer_to<f32>(product.out);
    to.flags = (product.bias != 0 ? kHasBias : 0) | (product.add ? kAddsOut : 0);
    to.first_tile = columns;
    columns += tiles(to.weight.n, tile_cols);
  }
  return columns;
}

void GpuOps::multiply(Address x, int64_t m, int64_t k, std::span<const Product> products) {
  if (m == 0) return;
  while (!products.empty()) {
    const auto some = products.first(together(products));
    if (is_decoding_ || !has_fragments_) {
      multiply_decoding(x, m, k, some);
    } else {
      multiply_whole(x, m, k, some);
    }
    products = products.subspan(some.size());
  }
}

void GpuOps::multiply_whole(Address x, int64_t m, int64_t k, std::span<const Product> products) {
  LinearArgs args{};
  args.x = pointer_to<const f32>(x);
  args.m = static_cast<u32>(m);
  args.k = static_cast<u32>(k);
  args.n_projections = static_cast<u32>(products.size());
  const u32 columns = project(products, kMatmulCols, args.projections);
  queue_.launch(for_type(KernelId::matmul_F32, products[0].weight->type()), {columns, tiles(m, kMatmulRows)}, args);
}

void GpuOps::multiply_decoding(Address x, int64_t m, int64_t k, std::span<const Product> products) {
  MatvecArgs args{};
  args.input.kind = kFromRows;
  args.input.x = pointer_to<const f32>(x);
  args.m = static_cast<u32>(m);
  args.k = static_cast<u32>(k);
  args.finish = kStore;
  args.n_projections = static_cast<u32>(products.size());
  const u32 columns = project(products, kMatvecCols, args.projections), rows = matvec_rows(m);
  queue_.launch(matvec_for(products[0].weight->type(), rows), {columns, tiles(m, rows)}, args);
}

void GpuOps::multiply_rows(const f32* x, int64_t m, const StoredWeight& weight, int64_t first, int64_t n, f32* out) {
  MatvecArgs args{};
  args.input.kind = kFromRows;
  args.input.x = x;
  args.m = static_cast<u32>(m);
  args.finish = kStore;
  args.n_projections = 1;
  args.projections[0].weight = weight.rows(first, n);
  args.projections[0].out = out;
  args.k = args.projections[0].weight.k;
  const u32 rows = matvec_rows(m);
  queue_.launch(matvec_for(weight.type(), rows), {tiles(n, kMatvecCols), tiles(m, rows)}, args);
}

void GpuOps::linear(Tensor x, std::span<const t5g::Projection> projections) {
  std::array<Product, 8> products;
  for (std::span<const t5g::Projection> left = projections; !left.empty();) {
    const size_t n = std::min(left.size(), products.size());
    for (size_t i = 0; i < n; ++i)
      products[i] = {&on_gpu(*left[i].weight), address_of(left[i].out), address_of(left[i].bias), left[i].add};
    multiply(address_of(x), x.rows, x.cols, std::span(products).first(n));
    left = left.subspan(n);
  }
}

void GpuOps::geglu_mlp(Tensor x, const t5g::Projection& gate, const t5g::Projection& up, const t5g::Projection& down) {
  linear(x, {gate, up});
  geglu(gate.out, up.out);
  linear(gate.out, {down});
}

void GpuOps::gelu_mlp(Tensor x, const t5g::Projection& fc1, const t5g::Projection& fc2) {
  linear(x, {{fc1.weight, fc1.out}});
  bias_gelu(fc1.out, fc1.bias);
  linear(fc1.out, {fc2});
}

}  // namespace t5g::gpu
