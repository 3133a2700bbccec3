// Where keys and values are kept: pages that the backend owns and others know by their numbers.
//
// A page is a row of slots, one for each layer: a slot holds one layer's keys and values of kKvChunk tokens. Pages that
// are taken together, a run, lie one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "quant/types.h"

namespace t5g {

// Tokens of one page, and of one slot of it: the unit in which caches grow, are shared and are attended to.
inline constexpr int64_t kKvChunk = 64;
inline constexpr int64_t kv_chunks(int64_t n_tokens) { return (n_tokens + kKvChunk - 1) / kKvChunk; }

// How the keys and values of one layer are stored. F32, F16, Q8_0: as such, everything is computed in f32. BF16:
// queries and probabilities are rounded to bfloat16 too, and products are summed in f32 by the device's bfloat16 dot
// product; where coarse scores do (ops.h), a device may hold such keys and queries in fewer bits.
struct KvFormat {
  DataType type;
  int n_kv_heads;  // K
  int head_dim;    // Dh
};

// Thread-safe but for copy(), which is an op. Made by Ops::make_kv_pool(); outlives its pages.
class KvPool {
 public:
  virtual ~KvPool() = default;

  virtual int n_layers() const = 0;
  virtual int64_t page_bytes() const = 0;

  // n pages with consecutive numbers -> the first one. Their contents are finite, and otherwise undefined. Throws Error
  // when memory cannot be had.
  virtual int32_t take(int64_t n) = 0;
  // All pages of one take().
  virtual void give_back(int32_t first) noexcept = 0;
  // Nobody will look at these layers of the page again before it is given back: their memory may go meanwhile. A hint.
  virtual void forget(int32_t, int /*first_layer*/, int /*n_layers*/) noexcept {}
  // Copies the contents of a page. Enqueued, like the ops that write to pages.
  virtual void copy(int32_t from, int32_t to) = 0;
};

// Pages of one take(), given back when this goes. It keeps the pool, and so may outlive the model and its device.
class KvRun {
 public:
  KvRun() = default;
  KvRun(std::shared_ptr<KvPool> pool, int64_t n) : pool_(std::move(pool)), first_(n > 0 ? pool_->take(n) : -1) {}
  KvRun(KvRun&& other) noexcept : pool_(std::move(other.pool_)), first_(std::exchange(other.first_, -1)) {}
  KvRun& operator=(KvRun&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(first_, other.first_);
    return *this;
  }
  ~KvRun() {
    if (first_ >= 0) pool_->give_back(first_);
  }
  int32_t first() const { return first_; }

 private:
  std::shared_ptr<KvPool> pool_;
  int32_t first_ = -1;  // -1: none
};

// Keys and values of one sequence or source in a pool. Either each chunk has a page of its own, wherever that is: chunk
// c of layer l is then slot l of pages[c]. Or all pages are one run that is filled layer by layer, so that reading a
// layer is one long stream: chunk c of layer l is then slot l * kv_chunks(length) + c of the run.
struct KvPages {
  std::span<const int32_t> pages;  // numbers, one per chunk; of a run the first one alone
  int64_t length = 0;              // tokens
  bool is_run = false;
};

}  // namespace t5g
