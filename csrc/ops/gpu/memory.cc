// Blocks by their exact size. Work is enqueued in one order, so a block may be used again while its last use waits for
// its turn: whatever the next owner enqueues comes later.
#include "ops/gpu/memory.h"

#include <algorithm>

#include "base/error.h"

namespace t5g::gpu {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kMaxSpareBytes = size_t{256} << 20;

size_t whole(size_t size_bytes) { return (std::max<size_t>(size_bytes, 1) + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Memory::~Memory() { trim(0); }

std::unique_ptr<Memory::Block> Memory::allocate_unfilled(size_t size_bytes) {
  return std::make_unique<Block>(shared_from_this(), whole(size_bytes));
}

std::unique_ptr<Memory::Block> Memory::allocate(size_t size_bytes) {
  auto block = allocate_unfilled(size_bytes);
  const std::lock_guard lock(mutex_);
  unfilled_.emplace_back(block->address(), block->size_bytes());
  any_unfilled_.store(true);
  return block;
}

std::unique_ptr<Memory::Block> Memory::allocate_passing(size_t size_bytes) {
  auto block = allocate(size_bytes);
  const std::lock_guard lock(mutex_);
  passing_.emplace(block->address(), block->size_bytes());
  return block;
}

bool Memory::is_passing(Address begin, size_t size_bytes) {
  const std::lock_guard lock(mutex_);
  auto found = passing_.upper_bound(begin);
  if (found == passing_.begin()) return false;
  --found;
  return begin + size_bytes <= found->first + found->second;
}

void Memory::fill_new() {
  if (!any_unfilled_.load()) return;
  const std::lock_guard lock(mutex_);
  while (!unfilled_.empty()) {
    driver_->fill_zero(unfilled_.back().first, unfilled_.back().second);
    unfilled_.pop_back();
  }
  any_unfilled_.store(false);
}

Address Memory::take(size_t size_bytes) {
  const std::lock_guard lock(mutex_);
  if (const auto found = spare_.find(size_bytes); found != spare_.end()) {
    const Address address = found->second;
    spare_.erase(found);
    spare_bytes_ -= size_bytes;
    return address;
  }
  try {
    return driver_->allocate(size_bytes);
  } catch (const DeviceError&) {
    if (spare_.empty()) throw;
  }
  trim(0);
  return driver_->allocate(size_bytes);
}

void Memory::give_back(Address address, size_t size_bytes) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(unfilled_, std::pair(address, size_bytes));
  passing_.erase(address);
  try {
    spare_.emplace(size_bytes, address);
    spare_bytes_ += size_bytes;
  } catch (...) {  // no memory for the note
    driver_->free(address);
  }
  trim(kMaxSpareBytes);
}

void Memory::trim(size_t max_bytes) noexcept {
  while (spare_bytes_ > max_bytes) {
    const auto largest = std::prev(spare_.end());
    driver_->free(largest->second);
    spare_bytes_ -= largest->first;
    spare_.erase(largest);
  }
}

}  // namespace t5g::gpu
