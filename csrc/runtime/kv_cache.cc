// Pages come from the pool and go back to it when the last sequence that shares them lets go.
#include "runtime/kv_cache.h"

#include <algorithm>
#include <utility>

namespace t5g {
namespace {

// Returned pages that are kept for the next sequence: enough for short calls to reuse the same memory over and over.
constexpr size_t kMaxFreeBytes = size_t{64} << 20;

}  // namespace

PagePool::Page PagePool::take(const std::shared_ptr<PagePool>& pool) {
  Buffer buffer;
  {
    std::lock_guard lock(pool->mutex_);
    if (!pool->free_.empty()) {
      buffer = std::move(pool->free_.back());
      pool->free_.pop_back();
    }
  }
  if (buffer.data() == nullptr) buffer = Buffer(pool->page_bytes_);
  auto owner = std::make_shared<Buffer>(std::move(buffer));
  std::byte* data = owner->data();
  return Page(data, [pool, owner](std::byte*) {
    std::lock_guard lock(pool->mutex_);
    if ((pool->free_.size() + 1) * pool->page_bytes_ <= kMaxFreeBytes) pool->free_.push_back(std::move(*owner));
  });
}

void KvCache::set_page(size_t i, PagePool::Page page) {
  pointers_[i] = page.get();
  pages_[i] = std::move(page);
}

// A page that stayed behind the end could be shared by a fork, and reserve() looks for shared pages at the end alone.
void KvCache::truncate(int64_t length) {
  length_ = length;
  const auto needed = static_cast<size_t>((length + kKvChunk - 1) / kKvChunk);
  pages_.resize(std::min(needed, pages_.size()));
  pointers_.resize(pages_.size());
}

void KvCache::reserve(int64_t n) {
  const auto first = static_cast<size_t>(length_ / kKvChunk);
  const auto needed = static_cast<size_t>((length_ + n + kKvChunk - 1) / kKvChunk);
  if (n > 0 && first < pages_.size() && pages_[first].use_count() > 1) {
    PagePool::Page copy = PagePool::take(pool_);
    std::copy_n(pages_[first].get(), pool_->page_bytes(), copy.get());
    set_page(first, std::move(copy));
  }
  for (size_t i = pages_.size(); i < needed; ++i) {
    pages_.emplace_back();
    pointers_.push_back(nullptr);
    set_page(i, PagePool::take(pool_));
  }
}

}  // namespace t5g
