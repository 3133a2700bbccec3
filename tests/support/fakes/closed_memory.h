// Memory of a fake device: it cannot be touched but while something runs there, so that a host that looks crashes.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>

#include "kernels/gpu/emulator/emulated.h"

namespace t5g::fakes {

class ClosedMemory {
 public:
  // null: the system has none left. Filled with NaN.
  void* take(size_t size_bytes) {
    const size_t whole = (size_bytes + kPage - 1) / kPage * kPage;
    void* memory = ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    std::memset(memory, 0xFF, size_bytes);
    ::mprotect(memory, whole, PROT_NONE);
    blocks_[memory] = whole;
    taken_ += size_bytes;
    sizes_[memory] = size_bytes;
    return memory;
  }
  bool give_back(void* memory) {
    const auto found = blocks_.find(memory);
    if (found == blocks_.end()) return false;
    ::munmap(memory, found->second);
    taken_ -= sizes_[memory];
    sizes_.erase(memory);
    blocks_.erase(found);
    return true;
  }
  size_t taken() const { return taken_; }
  size_t n_blocks() const { return blocks_.size(); }
  void open(void* memory) const { ::mprotect(memory, blocks_.at(memory), PROT_READ | PROT_WRITE); }
  void protect_all(int protection) const {
    for (const auto& [memory, size_bytes] : blocks_) ::mprotect(memory, size_bytes, protection);
  }

 private:
  static constexpr size_t kPage = 4096;
  std::map<void*, size_t> blocks_, sizes_;
  size_t taken_ = 0;
};

// The index of a kernel's name, or -1.
inline int kernel_index(const char* name) {
  for (size_t i = 0; i < gpu::kNumKernels; ++i)
    if (gpu::kKernels[i].name == name) return static_cast<int>(i);
  return -1;
}

}  // namespace t5g::fakes
