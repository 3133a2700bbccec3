// Pages come from the pool and go back to it when the last sequence that shares them lets go.
#include "runtime/kv_cache.h"

#include <algorithm>
#include <utility>

namespace t5g {

// A page that stayed behind the end could be shared by a fork, and reserve() looks for shared pages at the end alone.
void KvCache::truncate(int64_t length) {
  length_ = length;
  pages_.resize(std::min(static_cast<size_t>(kv_chunks(length)), pages_.size()));
  numbers_.resize(pages_.size());
}

// The copy may not have been made any more.
void KvCache::undo(int64_t length) {
  if (replaced_ != nullptr) {
    const auto i = static_cast<size_t>(length / kKvChunk);
    numbers_[i] = replaced_->first();
    pages_[i] = std::move(replaced_);
  }
  truncate(length);
}

// A draft that was wrong takes back fewer tokens than a page has. Pages that a fork shares are left alone.
void KvCache::commit() {
  replaced_.reset();
  if (sliding_ == nullptr) return;
  const int64_t unseen = length_ - sliding_->before - kKvChunk;
  for (; static_cast<int64_t>(n_forgotten_ + 1) * kKvChunk <= unseen; ++n_forgotten_) {
    const Page& page = pages_[n_forgotten_];
    if (page.use_count() > 1) continue;
    for (const SlidingLayers::Range& range : sliding_->ranges) pool_->forget(page->first(), range.first, range.n);
  }
}

void KvCache::reserve(int64_t n) {
  const auto first = static_cast<size_t>(length_ / kKvChunk);
  if (n > 0 && first < pages_.size() && pages_[first].use_count() > 1) {
    Page copy = take();
    pool_->copy(pages_[first]->first(), copy->first());
    numbers_[first] = copy->first();
    replaced_ = std::exchange(pages_[first], std::move(copy));
  }
  while (static_cast<int64_t>(pages_.size()) < kv_chunks(length_ + n)) {
    pages_.push_back(take());
    numbers_.push_back(pages_.back()->first());
  }
}

}  // namespace t5g
