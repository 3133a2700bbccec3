// The CPU as a device: ops run at once, on a pool of threads, in the host's own memory.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>

#include "base/thread_pool.h"
#include "ops/device.h"

namespace t5g {

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int n_threads) : pool_(n_threads) {}

  std::string name() const override { return "cpu"; }
  int n_threads() const override { return pool_.n_threads(); }
  std::unique_ptr<Storage> allocate(size_t size_bytes) override;
  std::unique_ptr<Storage> borrow(std::span<std::byte> host) override;
  void upload(std::span<const float> from, Tensor to) override;
  void download(Tensor from, std::span<float> to) override;
  void wait() override {}

  ThreadPool& pool() { return pool_; }
  // Of the pass in hand.
  Interrupt* interrupt() const { return interrupt_; }

 private:
  void* begin_pass(Interrupt* interrupt) override;
  void end_pass(void* pass) noexcept override;
  bool is_wanted(void* pass) override;

  ThreadPool pool_;
  std::chrono::steady_clock::time_point begun_;  // the pass in hand
  Interrupt* interrupt_ = nullptr;
};

}  // namespace t5g
