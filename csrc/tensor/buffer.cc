// Anonymous mappings for big buffers (zeroed by the system, memory only where written to), the heap for small ones.
#include "tensor/buffer.h"

#include <atomic>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/os/memory.h"

namespace t5g {
namespace {

// From this size a buffer spans at least two huge pages, and 1.3 to 1.8 times the read bandwidth of 4 KB pages was
// measured.
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kHugeFrom = 2 * kHugePage;
constexpr size_t kMapFrom = size_t{256} << 10;

std::atomic<int64_t> n_buffers{0};

}  // namespace

int64_t Buffer::n_made() { return n_buffers.load(std::memory_order_relaxed); }

Buffer::Buffer(size_t size_bytes) : size_bytes_(size_bytes) {
  if (size_bytes == 0) return;
  n_buffers.fetch_add(1, std::memory_order_relaxed);
  if (size_bytes >= kMapFrom) {
    data_ = os::allocate_pages(size_bytes);
    if (data_ != nullptr && size_bytes >= kHugeFrom) os::prefer_huge_pages(data_, size_bytes);
  } else {
    data_ = os::allocate_aligned((size_bytes + 63) / 64 * 64);
    if (data_ != nullptr) std::memset(data_, 0, size_bytes);
  }
  if (data_ == nullptr) {
    throw OutOfMemory("out of memory: could not get " + std::to_string(size_bytes >> 20) +
                      " MiB. Use a smaller model, a smaller type or a shorter input.");
  }
}

void drop_contents(std::byte* data, size_t size_bytes) noexcept {
  const uintptr_t page = os::page_bytes(), first = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (first + page - 1) / page * page, end = (first + size_bytes) / page * page;
  if (begin < end) os::zero_pages(data + (begin - first), end - begin);
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (size_bytes_ >= kMapFrom) {
    os::free_pages(data_, size_bytes_);
  } else {
    os::free_aligned(data_);
  }
}

}  // namespace t5g
