// Keys and values of a sequence in pages of kKvChunk tokens, one page holding that chunk of every layer. Sequences that
// continue the same text (beams, samples of one source) share pages; a shared page is copied when one of them writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "model/decoder.h"
#include "tensor/buffer.h"

namespace t5g {

// Where pages come from. Thread-safe; outlives its pages.
class PagePool {
 public:
  explicit PagePool(int64_t page_bytes) : page_bytes_(static_cast<size_t>(page_bytes)) {}

  using Page = std::shared_ptr<std::byte>;
  // A page whose contents are finite, and otherwise undefined.
  static Page take(const std::shared_ptr<PagePool>& pool);
  size_t page_bytes() const { return page_bytes_; }

 private:
  const size_t page_bytes_;
  std::mutex mutex_;
  std::vector<Buffer> free_;
};

class KvCache {
 public:
  explicit KvCache(std::shared_ptr<PagePool> pool) : pool_(std::move(pool)) {}

  const std::shared_ptr<PagePool>& pool() const { return pool_; }
  int64_t length() const { return length_; }

  // Gets pages for `n` more tokens, none of them shared.
  void reserve(int64_t n);
  // Counts n tokens, reserved and written, as part of the sequence.
  void advance(int64_t n) { length_ += n; }

  // Forgets all tokens from `length` on; the pages that only they needed go back.
  void truncate(int64_t length);

  // The same sequence, to be continued in another way. Costs no memory until one of both goes on.
  KvCache fork() const { return *this; }

  // Pages for the decoder, with the tokens counted so far.
  KvPages view() const { return {pointers_, length_}; }
  // The same with room for the tokens reserved, for the one who fills it.
  KvPages view(int64_t length) const { return {pointers_, length}; }

 private:
  void set_page(size_t i, PagePool::Page page);

  std::shared_ptr<PagePool> pool_;
  std::vector<PagePool::Page> pages_;
  std::vector<std::byte*> pointers_;
  int64_t length_ = 0;
};

}  // namespace t5g
