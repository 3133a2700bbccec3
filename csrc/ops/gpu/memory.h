// Memory of a driver in blocks of any size. Blocks that are given back are kept for the next request of their size: the
// same passes ask for the same sizes, and a driver's own allocations take long.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "ops/gpu/driver.h"
#include "tensor/storage.h"

namespace t5g::gpu {

// Thread-safe but for fill_new(). Lives as long as any block, and the driver as long as it.
class Memory : public std::enable_shared_from_this<Memory> {
 public:
  explicit Memory(std::unique_ptr<Driver> driver) : driver_(std::move(driver)) {}
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  class Block;
  // Zero-filled when the next launch comes. Throws DeviceError.
  std::unique_ptr<Block> allocate(size_t size_bytes);
  // Contents undefined: for what is written to before it is read.
  std::unique_ptr<Block> allocate_unfilled(size_t size_bytes);
  // The same; is_passing() knows it.
  std::unique_ptr<Block> allocate_passing(size_t size_bytes);
  // Whether these bytes are of a block that nobody reads after the pass.
  bool is_passing(Address begin, size_t size_bytes);
  // Enqueues the zeros of the blocks that are new. By whoever holds the device, before each launch.
  void fill_new();

  Driver& driver() const { return *driver_; }

 private:
  Address take(size_t size_bytes);
  void give_back(Address address, size_t size_bytes) noexcept;
  // Gives spare blocks to the driver until at most so many bytes are left.
  void trim(size_t max_bytes) noexcept;

  const std::unique_ptr<Driver> driver_;
  std::mutex mutex_;
  std::multimap<size_t, Address> spare_;  // by size
  size_t spare_bytes_ = 0;
  std::vector<std::pair<Address, size_t>> unfilled_;
  std::atomic<bool> any_unfilled_{false};
  std::map<Address, size_t> passing_;
};

// A piece of device memory, as the storage of tensors and everything else.
class Memory::Block final : public Storage {
 public:
  Block(std::shared_ptr<Memory> memory, size_t size_bytes)
      : memory_(std::move(memory)), address_(memory_->take(size_bytes)), size_bytes_(size_bytes) {}
  ~Block() override { memory_->give_back(address_, size_bytes_); }
  Address address() const { return address_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  const std::shared_ptr<Memory> memory_;
  const Address address_;
  const size_t size_bytes_;
};

}  // namespace t5g::gpu
