// Keys and values of a growing sequence: the numbers of its pages in the model's pool. Sequences that continue the same
// text (beams, samples of one source) share pages; a shared page is copied when one of them writes.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ops/kv_pool.h"

namespace t5g {

// Layers that see no further back than `before` tokens, in ranges of neighbours: of tokens behind that, nothing of them
// is kept.
struct SlidingLayers {
  struct Range {
    int first, n;
  };
  int64_t before = 0;
  std::vector<Range> ranges;
};

class KvCache {
 public:
  explicit KvCache(std::shared_ptr<KvPool> pool, std::shared_ptr<const SlidingLayers> sliding = nullptr)
      : pool_(std::move(pool)), sliding_(std::move(sliding)) {}

  const std::shared_ptr<KvPool>& pool() const { return pool_; }
  int64_t length() const { return length_; }

  // Gets pages for `n` more tokens, none of them shared. May copy a page, which is an op of the pass in hand.
  void reserve(int64_t n);
  // Counts n tokens, reserved and written, as part of the sequence.
  void advance(int64_t n) { length_ += n; }

  // Ends a step: what has been reserved and counted since the last one stays; or never was, where the step has failed
  // when the cache had this length.
  void commit();
  void undo(int64_t length);

  // Forgets all tokens from `length` on; the pages that only they needed go back.
  void truncate(int64_t length);

  // The same sequence, to be continued in another way. Costs no memory until one of both goes on.
  KvCache fork() const { return *this; }

  // The pages, with so many more tokens than are counted: reserved, for the pass that writes them.
  KvPages view(int64_t n_reserved) const { return {.pages = numbers_, .length = length_ + n_reserved}; }

 private:
  using Page = std::shared_ptr<const KvRun>;  // of one page
  Page take() const { return std::make_shared<const KvRun>(pool_, 1); }

  std::shared_ptr<KvPool> pool_;
  std::shared_ptr<const SlidingLayers> sliding_;  // null: there are none
  size_t n_forgotten_ = 0;                        // pages of which those layers are not kept
  std::vector<Page> pages_;
  std::vector<int32_t> numbers_;  // of pages_
  Page replaced_;                 // by a copy, in the step in hand
  int64_t length_ = 0;
};

}  // namespace t5g
