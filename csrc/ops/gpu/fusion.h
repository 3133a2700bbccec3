// Rewrites the launches of a decoder's pass into fewer: norms, sums, merges and the activation between the feed-forward
// layers become part of the products that read or made their results. What is computed stays the same to the bit; what
// disappears are results that nobody reads later (Device::allocate_passing).
#pragma once

#include <memory>
#include <vector>

#include "ops/gpu/launch.h"
#include "ops/gpu/memory.h"

namespace t5g::gpu {

class Fusion {
 public:
  explicit Fusion(std::shared_ptr<Memory> memory)
      : memory_(std::move(memory)), max_rows_(static_cast<size_t>(block_rows(memory_->driver()))) {}

  // The pass in fewer launches, valid until the next call. is_whole: it ends with these launches.
  const std::vector<Launch>& fuse(const std::vector<Launch>& pass, bool is_whole);
  // Whether fuse() needs more memory of its own than it has: what it has goes then, so nobody may use it any more.
  bool must_grow(const std::vector<Launch>& pass) const;

 private:
  bool dies(size_t after, Address begin, size_t size_bytes) const;
  size_t matvecs_from(size_t first, Address x, size_t m, size_t k) const;
  bool fuse_norm(size_t& at);
  bool fuse_merge(size_t& at);
  bool fuse_preparation(size_t& at);
  void emit(Launch launch);
  void finish_with_geglu(size_t& at);

  const std::shared_ptr<Memory> memory_;
  const size_t max_rows_;                 // of a decoder's tensor: a block of rows
  std::unique_ptr<Memory::Block> other_;  // where every second sum of the residual stream goes
  const std::vector<Launch>* pass_ = nullptr;
  bool is_whole_ = false;
  std::vector<Launch> fused_;
  // The tensor that sums are added to, and where its rows are now.
  Address stream_ = 0, current_ = 0;
  size_t stream_bytes_ = 0;
};

}  // namespace t5g::gpu
