// A GPU of NVIDIA's through its driver: one stream, events for marks, and graphs for recordings.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ops/cuda/context.h"
#include "ops/gpu/driver.h"

namespace t5g::cuda {

class CudaDriver final : public gpu::Driver {
 public:
  // Throws Unsupported where there is no such GPU, DeviceError where it has no memory left.
  explicit CudaDriver(int index);
  ~CudaDriver() override;

  std::string name() const override { return context_->name(); }
  std::string description() const override { return context_->facts().description(); }
  int n_processors() const override { return context_->facts().n_processors; }

  size_t free_bytes() override;
  gpu::Address allocate(size_t size_bytes) override;
  void free(gpu::Address memory) noexcept override;
  std::unique_ptr<gpu::HostMemory> allocate_host(size_t size_bytes) override;

  void launch(gpu::KernelIndex kernel, gpu::Grid grid, std::span<const std::byte> args) override;
  void upload(const gpu::HostMemory& from, size_t offset, gpu::Address to, size_t size_bytes) override;
  void download(gpu::Address from, gpu::HostMemory& to, size_t offset, size_t size_bytes) override;
  void copy(gpu::Address from, gpu::Address to, size_t size_bytes) override;
  void fill_zero(gpu::Address memory, size_t size_bytes) override;
  void write(std::span<const std::byte> from, gpu::Address to) override;

  void begin_recording() override;
  std::unique_ptr<gpu::Plan> end_recording(bool keep) override;
  void replay(const gpu::Plan& plan) override;

  uint64_t mark() override;
  bool has_passed(uint64_t mark) override;
  void settle() noexcept override;
  void check_usable() const override { context_->require_usable(); }

 private:
  const Api& driver() const { return context_->driver(); }
  [[noreturn]] void out_of_memory(size_t needed_bytes, const char* where);

  const std::shared_ptr<SharedContext> context_;
  Stream stream_ = nullptr;
  // Marks that had not passed when last looked at, oldest first, and events for others.
  std::deque<std::pair<uint64_t, Event>> marks_;
  std::vector<Event> spare_events_;
  uint64_t last_mark_ = 0, last_passed_ = 0;
};

}  // namespace t5g::cuda
