// Linear layers and what is made of them.
#include <algorithm>
#include <array>

#include "ops/gpu/gpu_ops.h"

namespace t5g::gpu {
namespace {

u32 tiles(int64_t n, u32 per_tile) { return static_cast<u32>((n + per_tile - 1) / per_tile); }

}  // namespace

// Neighbours of one type share a launch.
void GpuOps::multiply(Address x, int64_t m, int64_t k, std::span<const Product> products) {
  if (m == 0) return;
  while (!products.empty()) {
    const DataType type = products.front().weight->type();
    LinearArgs args{};
    args.x = pointer_to<const f32>(x);
    args.m = static_cast<u32>(m);
    args.k = static_cast<u32>(k);
    u32 columns = 0;
    while (args.n_projections < std::min<size_t>(products.size(), kMaxProjections)) {
      const Product& product = products[args.n_projections];
      if (product.weight->type() != type) break;
      Projection& to = args.projections[args.n_projections++];
      to.weight = product.weight->weight();
      to.bias = pointer_to<const f32>(product.bias);
      to.out = pointer_to<f32>(product.out);
      to.flags = (product.bias != 0 ? kHasBias : 0) | (product.add ? kAddsOut : 0);
      to.first_tile = columns;
      columns += tiles(to.weight.n, kLinearCols);
    }
    queue_.launch(for_type(KernelId::linear_F32, type), {columns, tiles(m, kLinearRows)}, args);
    products = products.subspan(args.n_projections);
  }
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
  element(KernelId::geglu, address_of(gate.out), address_of(up.out), x.rows, gate.out.cols);
  linear(gate.out, {down});
}

void GpuOps::gelu_mlp(Tensor x, const t5g::Projection& fc1, const t5g::Projection& fc2) {
  linear(x, {{fc1.weight, fc1.out}});
  element(KernelId::bias_gelu, address_of(fc1.out), address_of(fc1.bias), x.rows, fc1.out.cols);
  linear(fc1.out, {fc2});
}

}  // namespace t5g::gpu
