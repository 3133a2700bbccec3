// A GPU as a device: what is enqueued waits in the queue until somebody wants to see a result.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/ticket_lock.h"
#include "ops/device.h"
#include "ops/gpu/queue.h"
#include "ops/gpu/weights.h"

namespace t5g::gpu {

class GpuDevice final : public Device {
 public:
  // Throws DeviceError.
  explicit GpuDevice(std::unique_ptr<Driver> driver)
      : memory_(std::make_shared<Memory>(std::move(driver))),
        queue_(memory_),
        weights_(std::make_shared<WeightStore>(queue_)) {}

  std::string name() const override { return memory_->driver().name(); }
  int n_threads() const override { return memory_->driver().n_threads(); }
  std::unique_ptr<Storage> allocate(size_t size_bytes) override { return memory_->allocate(size_bytes); }
  std::unique_ptr<Storage> allocate_passing(size_t size_bytes) override {
    return memory_->allocate_passing(size_bytes);
  }
  void expect_weights(size_t size_bytes) override { weights_->check_room(size_bytes); }
  std::unique_ptr<Storage> borrow(std::span<std::byte>) override { return nullptr; }
  void upload(std::span<const float> from, Tensor to) override;
  void download(Tensor from, std::span<float> to) override;
  void wait() override;

  Queue& queue() { return queue_; }
  const std::shared_ptr<Memory>& memory() const { return memory_; }
  const std::shared_ptr<WeightStore>& weights() const { return weights_; }

 private:
  void* begin_pass(Interrupt* interrupt) override;
  void end_pass(void* pass) noexcept override;
  bool is_wanted(void*) override { return lock_.is_wanted(); }

  const std::shared_ptr<Memory> memory_;
  TicketLock lock_{"the model"};
  Queue queue_;
  const std::shared_ptr<WeightStore> weights_;
};

// Where a tensor's rows begin; 0 where there is none.
inline Address address_of(Tensor tensor) {
  if (!tensor) return 0;
  return static_cast<const Memory::Block&>(*tensor.storage).address() +
         static_cast<Address>(tensor.offset) * sizeof(float);
}

}  // namespace t5g::gpu
