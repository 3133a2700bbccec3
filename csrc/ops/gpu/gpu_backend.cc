// Puts device and ops together, and loads weights.
#include "ops/gpu/gpu_backend.h"

#include <cmath>
#include <utility>

#include "ops/gpu/gpu_ops.h"
#include "ops/gpu/probe.h"

namespace t5g::gpu {

Backend make_gpu_backend(std::unique_ptr<Driver> driver) {
  const bool has_fragments = fragments_are_known(*driver);
  auto device = std::make_unique<GpuDevice>(std::move(driver));
  auto ops = std::make_unique<GpuOps>(*device, has_fragments);
  return {std::move(device), std::move(ops)};
}

std::unique_ptr<Matrix> GpuOps::load(const WeightView& weight) {
  return std::make_unique<GpuMatrix>(device_.weights(), weight);
}
std::unique_ptr<Table> GpuOps::load_table(const WeightView& weight) {
  return std::make_unique<GpuTable>(device_.weights(), weight);
}
std::unique_ptr<Head> GpuOps::load_head(const WeightView& weight) {
  return std::make_unique<GpuHead>(device_.weights(), weight);
}
std::unique_ptr<Rotary> GpuOps::load_rotary(const RotarySpec& spec) { return std::make_unique<GpuRotary>(spec); }

std::shared_ptr<KvPool> GpuOps::make_kv_pool(const KvFormat& format, int n_layers) {
  return std::make_shared<GpuKvPool>(queue_, device_.memory(), format, n_layers);
}

// In f32, as the reference forms them.
GpuRotary::GpuRotary(const RotarySpec& spec) : head_dim_(spec.head_dim) {
  for (int i = 0; i < head_dim_ / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim_);
    const float inv_freq = 1.0f / std::pow(static_cast<float>(spec.theta), exponent);
    host_.push_back(inv_freq / static_cast<float>(spec.factor));
  }
}

Address GpuRotary::inv_freq(Queue& queue) const {
  if (memory_ == nullptr) {
    auto memory = queue.memory().allocate_unfilled(host_.size() * sizeof(float));
    queue.write(std::as_bytes(std::span(host_)), memory->address());
    memory_ = std::move(memory);
  }
  return memory_->address();
}

}  // namespace t5g::gpu
