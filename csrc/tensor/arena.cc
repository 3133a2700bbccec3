// Regions of address space, which become memory page by page as they are written to.
#include "tensor/arena.h"

#include <algorithm>

namespace t5g {
namespace {

// What is announced may never be taken (an image tower that sees no image), and systems refuse mappings that are
// larger than their memory.
constexpr size_t kMaxRegion = size_t{256} << 20;

size_t whole_lines(size_t size_bytes) { return (size_bytes + 63) / 64 * 64; }

}  // namespace

void Arena::announce(size_t size_bytes) { announced_ += whole_lines(size_bytes); }

std::byte* Arena::take(size_t size_bytes) {
  size_bytes = whole_lines(size_bytes);
  if (regions_.empty() || regions_.back().size_bytes() - taken_ < size_bytes) {
    regions_.emplace_back(std::max(std::min(announced_, kMaxRegion), size_bytes));
    taken_ = 0;
  }
  announced_ -= std::min(announced_, size_bytes);
  std::byte* data = regions_.back().data() + taken_;
  taken_ += size_bytes;
  return data;
}

}  // namespace t5g
