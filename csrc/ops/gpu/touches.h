// Which memory of tensors a launch reads and writes: what fusion must know before it leaves one out. Weights, batches
// and pages of keys and values are not among it, as fusion never changes when they are read or written.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "ops/gpu/launch.h"

namespace t5g::gpu {

struct Touch {
  size_t offset;  // of the pointer among the arguments
  Address begin;
  size_t size_bytes;
  bool reads, writes;

  bool overlaps(Address other, size_t other_bytes) const {
    return begin < other + other_bytes && other < begin + size_bytes;
  }
  bool covers(Address other, size_t other_bytes) const {
    return begin <= other && other + other_bytes <= begin + size_bytes;
  }
};

class Touches {
 public:
  // max_rows: that a tensor whose rows are picked by number can have.
  Touches(const Launch& launch, size_t max_rows);
  std::span<const Touch> all() const { return std::span(all_).first(n_); }
  // It may read anything.
  bool is_unknown() const { return is_unknown_; }

 private:
  template <typename Args>
  class Adder;
  std::array<Touch, 8> all_{};
  size_t n_ = 0;
  bool is_unknown_ = false;
};

}  // namespace t5g::gpu
