// Copies and turns.
#include "ops/gpu/gpu_device.h"

#include <cassert>

namespace t5g::gpu {

void GpuDevice::upload(std::span<const float> from, Tensor to) {
  assert(std::ssize(from) == to.size());
  if (!from.empty()) queue_.write(std::as_bytes(from), address_of(to));
}

void GpuDevice::download(Tensor from, std::span<float> to) {
  assert(std::ssize(to) == from.size());
  queue_.read(address_of(from), std::as_writable_bytes(to));
}

void GpuDevice::wait() {
  weights_->settle();
  queue_.wait();
}

void* GpuDevice::begin_pass(Interrupt* interrupt) {
  memory_->driver().check_usable();
  lock_.enter(interrupt);
  queue_.begin(interrupt);
  return nullptr;
}

void GpuDevice::end_pass(void*) noexcept {
  queue_.end();
  lock_.leave();
}

}  // namespace t5g::gpu
