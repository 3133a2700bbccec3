// Into how many parts the keys of a source are divided, each with a result of its own: for threads to share, and not so
// many that merging them takes long. It depends on the source alone, so every look at it merges alike.
#pragma once

#include <cstdint>

namespace t5g {

inline constexpr int64_t kMaxSourceParts = 64;

// Chunks of one part.
constexpr int64_t source_part_chunks(int64_t n_chunks) {
  int64_t chunks = 1;
  while (n_chunks > kMaxSourceParts * chunks) chunks *= 2;
  return chunks;
}

}  // namespace t5g
