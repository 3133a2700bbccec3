// A prefix, a suffix, and between them as much of the rest as there is room for.
#include "text/truncation.h"

#include <algorithm>

namespace t5g {

CutRange cut_range(int64_t n_ids, int64_t limit, Truncation part, int64_t n_prefix, int64_t n_suffix) {
  if (n_ids <= limit) return {};
  const int64_t first = std::min(n_prefix, limit), last = std::min(n_suffix, limit - first);
  const int64_t room = limit - first - last;
  const int64_t before = part == Truncation::kEnd ? room : part == Truncation::kStart ? 0 : (room + 1) / 2;
  return {first + before, n_ids - limit};
}

}  // namespace t5g
