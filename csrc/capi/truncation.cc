// A prefix, a suffix, and between them as much of the rest as there is room for.
#include "capi/truncation.h"

#include <algorithm>
#include <string>

#include "capi/guard.h"

namespace t5g::capi {

void check_truncation(int32_t truncation) {
  if (truncation < T5G_TRUNCATION_ERROR || truncation > T5G_TRUNCATION_MIDDLE)
    fail("truncation", "must be one of the constants of t5g.h, got " + std::to_string(truncation) + ".");
}

int64_t truncate(std::vector<int32_t>& ids, int32_t truncation, int64_t limit, const Added& added) {
  const int64_t excess = std::ssize(ids) - limit;
  if (excess <= 0 || truncation == T5G_TRUNCATION_ERROR) return 0;
  const auto& [prefix, suffix] = added;
  const bool begins = std::ranges::equal(std::span(ids).first(std::min(prefix.size(), ids.size())), prefix);
  const bool ends = std::ranges::equal(std::span(ids).last(std::min(suffix.size(), ids.size())), suffix);
  const int64_t first = std::min<int64_t>(begins ? std::ssize(prefix) : 0, limit);
  const int64_t last = std::min<int64_t>(ends ? std::ssize(suffix) : 0, limit - first);
  const int64_t room = limit - first - last;
  const int64_t before = truncation == T5G_TRUNCATION_END     ? room
                         : truncation == T5G_TRUNCATION_START ? 0
                                                              : (room + 1) / 2;
  const auto begin = ids.begin() + first + before;
  ids.erase(begin, begin + excess);
  return excess;
}

}  // namespace t5g::capi
