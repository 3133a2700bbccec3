// The decoder's keys and values of one source: written once, read in every step. Unlike the pages of a growing
// sequence, each layer's chunks lie one after the other in one block of memory, so that reading them is one long
// stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "model/decoder.h"
#include "runtime/encoded_source.h"
#include "tensor/buffer.h"

namespace t5g {

class SourceCache {
 public:
  // Room for so many tokens. layer_bytes: of one chunk of one layer.
  SourceCache(int64_t length, int64_t layer_bytes, int64_t n_layers)
      : length_(length), n_chunks_((length + kKvChunk - 1) / kKvChunk), layer_stride_(n_chunks_ * layer_bytes) {
    data_ = Buffer(static_cast<size_t>(layer_stride_ * n_layers));
    for (int64_t chunk = 0; chunk < n_chunks_; ++chunk) chunks_.push_back(data_.data() + chunk * layer_bytes);
  }

  KvPages view() const { return {.pages = chunks_, .length = length_, .layer_stride = layer_stride_}; }
  size_t size_bytes() const { return data_.size_bytes(); }

 private:
  int64_t length_, n_chunks_, layer_stride_;
  Buffer data_;
  std::vector<std::byte*> chunks_;  // of the first layer
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
