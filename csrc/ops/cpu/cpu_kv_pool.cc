// Numbers are handed out first fit. Buffers are zero-filled, and pages are used again for the same format alone: so
// what a page holds is always finite.
#include "ops/cpu/cpu_kv_pool.h"

#include <algorithm>
#include <utility>

#include "ops/cpu/host.h"
#include "tensor/buffer.h"

namespace t5g {
namespace {

// Enough for short calls to use the same memory over and over.
constexpr int64_t kMaxSpareBytes = int64_t{64} << 20;

}  // namespace

int32_t CpuKvPool::take(int64_t n) {
  {
    const std::lock_guard lock(mutex_);
    if (n == 1 && !spare_.empty()) {
      const int32_t number = spare_.back();
      spare_.pop_back();
      return number;
    }
  }
  std::unique_ptr<Storage> memory = device_.allocate(static_cast<size_t>(n * page_bytes()));
  const std::lock_guard lock(mutex_);
  const size_t first = find_numbers(static_cast<size_t>(n));
  std::byte* data = on_host(*memory).data();
  for (int64_t i = 0; i < n; ++i) pages_[first + static_cast<size_t>(i)].data = data + i * page_bytes();
  pages_[first].memory = std::move(memory);
  pages_[first].n = n;
  return static_cast<int32_t>(first);
}

size_t CpuKvPool::find_numbers(size_t n) {
  size_t begin = 0;
  for (size_t i = 0; i < pages_.size() && i - begin < n; ++i) {
    if (pages_[i].data != nullptr) begin = i + 1;
  }
  if (begin + n > pages_.size()) {
    pages_.resize(begin + n);
    spare_.reserve(pages_.capacity());  // so that giving back allocates nothing
  }
  return begin;
}

void CpuKvPool::give_back(int32_t first) noexcept {
  std::unique_ptr<Storage> memory;  // goes after the lock
  const std::lock_guard lock(mutex_);
  Page& page = pages_[static_cast<size_t>(first)];
  if (page.n == 1 && (std::ssize(spare_) + 1) * page_bytes() <= kMaxSpareBytes) {
    spare_.push_back(first);
    return;
  }
  memory = std::move(page.memory);
  const auto begin = pages_.begin() + first;
  std::for_each(begin, begin + page.n, [](Page& of_run) { of_run.data = nullptr; });
}

void CpuKvPool::forget(int32_t page, int first_layer, int n_layers) noexcept {
  const std::lock_guard lock(mutex_);
  drop_contents(pages_[static_cast<size_t>(page)].data + first_layer * slot_bytes_,
                static_cast<size_t>(n_layers * slot_bytes_));
}

void CpuKvPool::copy(int32_t from, int32_t to) {
  std::byte *source, *target;
  {
    const std::lock_guard lock(mutex_);
    source = pages_[static_cast<size_t>(from)].data;
    target = pages_[static_cast<size_t>(to)].data;
  }
  std::copy_n(source, page_bytes(), target);
}

HostKv CpuKvPool::locate(const KvPages& kv, std::byte** pages) {
  HostKv found{.n_chunks = kv_chunks(kv.length), .length = kv.length, .slot_bytes = slot_bytes_};
  if (kv.pages.empty()) return found;
  const std::lock_guard lock(mutex_);
  if (kv.is_run) {
    found.run = pages_[static_cast<size_t>(kv.pages.front())].data;
    return found;
  }
  found.pages = pages;
  for (const int32_t number : kv.pages) *pages++ = pages_[static_cast<size_t>(number)].data;
  return found;
}

}  // namespace t5g
