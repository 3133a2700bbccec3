// Adapters: two thin products as any others, one after the other. What an adapter is scaled with is in its second
// matrix, of which there is one for each scale that is used.
#include <algorithm>
#include <utility>
#include <vector>

#include "ops/gpu/gpu_ops.h"

namespace t5g::gpu {
namespace {

// Of one adapter, that are kept: more are made anew.
constexpr size_t kMaxScales = 16;

WeightView copied(std::span<const float> values, float scale, int64_t rows, int64_t cols) {
  auto copy = std::make_shared<Buffer>(values.size() * sizeof(float));
  std::ranges::transform(values, copy->floats(), [&](float value) { return value * scale; });
  WeightView view{.type = DataType::kF32, .rows = rows, .cols = cols};
  view.bytes = {copy->data(), copy->size_bytes()};
  view.copy = std::move(copy);
  return view;
}

class GpuLowRank final : public LowRank {
 public:
  GpuLowRank(std::shared_ptr<WeightStore> store, std::span<const float> a, std::span<const float> b, int64_t rank)
      : LowRank(std::ssize(b) / rank, std::ssize(a) / rank, rank),
        store_(std::move(store)),
        a_(store_, copied(a, 1, rank, cols())),
        b_(b.begin(), b.end()) {}

  const StoredWeight& a() const { return a_.stored; }
  // By the thread that holds the device.
  const StoredWeight& b(Queue& queue, float scale) const {
    const auto found = std::ranges::find(scaled_, scale, &Scaled::scale);
    if (found != scaled_.end()) return found->matrix->stored;
    if (scaled_.size() == kMaxScales) {
      queue.flush();  // what is not sent off would come after the zeros of the next owner
      scaled_.erase(scaled_.begin());
    }
    scaled_.push_back({scale, std::make_unique<GpuMatrix>(store_, copied(b_, scale, rows(), rank()))});
    return scaled_.back().matrix->stored;
  }

 private:
  struct Scaled {
    float scale;
    std::unique_ptr<GpuMatrix> matrix;
  };

  const std::shared_ptr<WeightStore> store_;
  const GpuMatrix a_;
  const std::vector<float> b_;
  mutable std::vector<Scaled> scaled_;
};

}  // namespace

std::unique_ptr<LowRank> GpuOps::load_low_rank(std::span<const float> a, std::span<const float> b, int64_t rank) {
  return std::make_unique<GpuLowRank>(device_.weights(), a, b, rank);
}

void GpuOps::add_low_rank(Tensor x, std::span<const LowRankProduct> products) {
  for (const LowRankProduct& product : products)
    add_low_rank(address_of(x), product, address_of(product.out), &GpuOps::multiply);
}

void GpuOps::add_low_rank(Address x, const LowRankProduct& product, Address out, Multiply how) {
  if (product.n == 0) return;
  const auto& w = static_cast<const GpuLowRank&>(*product.weight);
  const auto row = [&](Address rows, int64_t cols) {
    return rows + static_cast<Address>(product.first * cols) * sizeof(float);
  };
  const Address inner = low_rank_.of(queue_, static_cast<size_t>(product.n * w.rank()) * sizeof(float));
  const Product down{&w.a(), inner};
  const Product up{&w.b(queue_, product.scale), row(out, w.rows()), 0, /*add=*/true};
  (this->*how)(row(x, w.cols()), product.n, w.cols(), {&down, 1});
  (this->*how)(inner, product.n, w.rank(), {&up, 1});
}

void GpuOps::geglu(Tensor gate, Tensor up) {
  element(KernelId::geglu, address_of(gate), address_of(up), gate.rows, gate.cols);
}

void GpuOps::bias_gelu(Tensor x, Tensor bias) {
  element(KernelId::bias_gelu, address_of(x), address_of(bias), x.rows, x.cols);
}

}  // namespace t5g::gpu
