// The k largest values of a row, found in one pass without sorting or copying the row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace t5g::sampling {

struct Scored {
  float value;
  int32_t id;
};

// Larger values first, lower ids first among equals: an order without ties, so that no result depends on the standard
// library's sorting.
inline bool better(const Scored& a, const Scored& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

// out: the k largest of the row, best first; fewer where the row has fewer. -infinity and NaN are never among them.
void select_top(std::span<const float> row, size_t k, std::vector<Scored>& out);

}  // namespace t5g::sampling
