// Pages come from the pool and go back to it when the last sequence that shares them lets go.
#include "runtime/kv_cache.h"

#include <algorithm>

namespace t5g {

// A page that stayed behind the end could be shared by a fork, and reserve() looks for shared pages at the end alone.
void KvCache::truncate(int64_t length) {
  length_ = length;
  pages_.resize(std::min(static_cast<size_t>(kv_chunks(length)), pages_.size()));
  numbers_.resize(pages_.size());
}

void KvCache::reserve(int64_t n) {
  const auto first = static_cast<size_t>(length_ / kKvChunk);
  if (n > 0 && first < pages_.size() && pages_[first].use_count() > 1) {
    Page copy = take();
    pool_->copy(pages_[first]->first(), copy->first());
    numbers_[first] = copy->first();
    pages_[first] = std::move(copy);
  }
  while (static_cast<int64_t>(pages_.size()) < kv_chunks(length_ + n)) {
    pages_.push_back(take());
    numbers_.push_back(pages_.back()->first());
  }
}

}  // namespace t5g
