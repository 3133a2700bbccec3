// A Mac's GPU through Metal. Host and GPU share their memory: what is enqueued as a copy is done by the host, when all
// before it has run, and only launches go into command buffers, one for each mark.
//
// Buffers are untracked, so order is ours to keep: a barrier between launches, a fence between command buffers.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "ops/gpu/driver.h"
#include "ops/metal/metal_gpu.h"

namespace t5g::metal {

class MetalDriver final : public gpu::Driver {
 public:
  // Throws Unsupported.
  MetalDriver();
  ~MetalDriver() override;

  std::string name() const override { return "metal"; }
  std::string description() const override;
  int n_processors() const override { return 16; }  // Metal does not say; M1 to M4 have 8 to 80

  size_t free_bytes() override;
  size_t largest_allocation() const override { return call::max_buffer_bytes(gpu_.device()); }
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
  void check_usable() const override;

 private:
  class RecordedPlan;
  struct Block {
    Owned buffer;
    std::byte* contents;
    size_t size_bytes;
  };
  struct Running {
    uint64_t mark;
    Owned command_buffer;
  };
  struct Download {
    const std::byte* from;
    std::byte* to;
    size_t size_bytes;
  };

  std::byte* contents(gpu::Address memory);
  Id encoder();
  void declare_resident();
  // Sends off what is encoded; mark: the first that waits for it.
  void commit(uint64_t mark);
  void drop_encoded();
  // Throws DeviceError where it failed, and takes note that the device is lost where nothing can follow.
  void check_ended(Id command_buffer);
  // Takes the first of running_ off, which has ended. Throws DeviceError where it failed.
  void finish_first();
  void finish_downloads();
  // Waits for everything, downloads included: then copies may be made by the host.
  void wait_until_idle();
  void release_freed() noexcept;

  MetalGpu& gpu_;
  const uint32_t forks_;
  Owned queue_, fence_;

  // Command buffers: the one being filled, and those on their way, oldest first.
  Owned open_buffer_, open_encoder_;
  int64_t n_launches_ = 0;  // in the open one
  uint64_t work_ = 0;       // of these launches, see kMostWork
  std::deque<Running> running_;
  std::vector<Download> downloads_;  // for when everything has run: nothing is encoded after them
  uint64_t last_mark_ = 0, last_passed_ = 0;
  std::unique_ptr<RecordedPlan> recording_;
  std::string failure_;  // what a command buffer ended with

  std::mutex mutex_;  // of what follows
  std::map<gpu::Address, Block> blocks_;
  std::vector<Owned> freed_;  // while something ran that might use them
  bool busy_ = false;         // something is encoded or running
  bool resident_changed_ = true;
};

}  // namespace t5g::metal
