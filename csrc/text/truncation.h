// Which tokens go of a source that is too long, where the caller has asked for that. What belongs around a text stays.
#pragma once

#include <cstdint>

namespace t5g {

// The part that is cut away.
enum class Truncation : int32_t { kEnd = 1, kStart, kMiddle };

// So many ids, from this one on.
struct CutRange {
  int64_t begin = 0, n = 0;
};

// n_prefix, n_suffix: how many of the ids were put before and behind a text.
CutRange cut_range(int64_t n_ids, int64_t limit, Truncation part, int64_t n_prefix, int64_t n_suffix);

}  // namespace t5g
