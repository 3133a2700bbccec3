// What the decoder looks at of one source, written once and read in every step: keys and values of every layer, or the
// encoder's output alone (see ops/latent.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "ops/kv_pool.h"
#include "ops/latent.h"
#include "runtime/adapter.h"
#include "runtime/encoded_source.h"

namespace t5g {

class SourceCache {
 public:
  // Room for keys and values of so many tokens: one run, layer after layer, so that reading a layer is one long stream.
  // adapters: of the source.
  SourceCache(std::shared_ptr<KvPool> pool, int64_t length, ActiveAdapters adapters = {})
      : adapters_(std::move(adapters)),
        length_(length),
        size_bytes_(static_cast<size_t>(kv_chunks(length) * pool->page_bytes())),
        run_(std::move(pool), kv_chunks(length)),
        first_page_(run_.first()) {}
  // states: what the latent reads.
  SourceCache(std::unique_ptr<Latent> latent, const StateRows& states, size_t more_bytes, ActiveAdapters adapters)
      : adapters_(std::move(adapters)),
        length_(0),
        size_bytes_(states.size_bytes() + more_bytes),
        states_(states.memory()),
        latent_(std::move(latent)) {}
  SourceCache(const SourceCache&) = delete;
  SourceCache& operator=(const SourceCache&) = delete;

  // One of both has the source; neither, where that is empty.
  KvPages view() const {
    if (length_ == 0) return {};
    return {.pages = {&first_page_, 1}, .length = length_, .is_run = true};
  }
  Latent* latent() const { return latent_.get(); }
  size_t size_bytes() const { return size_bytes_; }
  // Those that every step on this source is to be run with.
  const ActiveAdapters& adapters() const { return adapters_; }

 private:
  const ActiveAdapters adapters_;
  const int64_t length_;
  const size_t size_bytes_;
  const KvRun run_;
  const int32_t first_page_ = -1;
  // Not the source: that would never go while this keeps it.
  const std::shared_ptr<const Buffer> states_;
  const std::unique_ptr<Latent> latent_;
};

// What one model has derived from the sources used last, so that asking again about a source projects nothing. An entry
// goes with its source, or when newer ones need its place; whoever runs with it keeps it until then. Thread-safe.
class SourceCacheStore final : public SourceObserver, public std::enable_shared_from_this<SourceCacheStore> {
 public:
  // Only the newest entry may make it larger than max_bytes.
  explicit SourceCacheStore(size_t max_bytes) : max_bytes_(max_bytes) {}

  // Null when the source is not among the last ones.
  std::shared_ptr<const SourceCache> find(const EncodedSource& source);
  void insert(const EncodedSource& source, std::shared_ptr<const SourceCache> cache);
  void source_gone(uint64_t source_id) override;
  // Before the device goes: a source that is being destroyed may keep the store for a moment longer.
  void clear();

 private:
  struct Entry {
    uint64_t source_id;
    std::shared_ptr<const SourceCache> cache;
  };
  const size_t max_bytes_;
  std::mutex mutex_;
  std::deque<Entry> entries_;  // used last first
  size_t bytes_ = 0;
};

}  // namespace t5g
