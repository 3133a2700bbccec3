// Least recently used goes first. A pass frees blocks outside the lock, as that takes the system a while; whoever frees
// them without holding the model does it inside, so that clear() waits for it.
#include "runtime/source_cache.h"

#include <algorithm>
#include <utility>

namespace t5g {

std::shared_ptr<const SourceCache> SourceCacheStore::find(const EncodedSource& source) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(entries_, source.id(), &Entry::source_id);
  if (found == entries_.end()) return nullptr;
  std::rotate(entries_.begin(), found, found + 1);
  return entries_.front().cache;
}

void SourceCacheStore::insert(const EncodedSource& source, std::shared_ptr<const SourceCache> cache) {
  source.observe(weak_from_this());
  std::vector<Entry> dropped;
  const std::lock_guard lock(mutex_);
  bytes_ += cache->size_bytes();
  entries_.push_front({source.id(), std::move(cache)});
  while (bytes_ > max_bytes_ && entries_.size() > 1) {
    bytes_ -= entries_.back().cache->size_bytes();
    dropped.push_back(std::move(entries_.back()));
    entries_.pop_back();
  }
}

void SourceCacheStore::source_gone(uint64_t source_id) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(entries_, source_id, &Entry::source_id);
  if (found == entries_.end()) return;
  bytes_ -= found->cache->size_bytes();
  entries_.erase(found);
}

void SourceCacheStore::clear() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
  bytes_ = 0;
}

}  // namespace t5g
