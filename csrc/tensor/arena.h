// Memory for the packed weights of a model, one after the other: most matrices of small models are smaller than a huge
// page, and 4 KB pages take longer to get and to read.
#pragma once

#include <cstddef>
#include <vector>

#include "tensor/buffer.h"

namespace t5g {

// Not for several threads at a time.
class Arena {
 public:
  // Says that take() will be asked for so many bytes, perhaps: the arena sets address space aside accordingly.
  void announce(size_t size_bytes);
  // Zero-filled, aligned to 64 bytes, valid as long as the arena. Throws Error when memory cannot be had.
  std::byte* take(size_t size_bytes);

 private:
  std::vector<Buffer> regions_;
  size_t taken_ = 0;      // of the last region
  size_t announced_ = 0;  // and not taken
};

}  // namespace t5g
