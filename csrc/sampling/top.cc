// Selection with a rising threshold: values above the k-th best so far go to a buffer of 2 k, which is cut to its best
// k whenever it is full. Nearly all of a large row fails one comparison.
#include "sampling/top.h"

#include <algorithm>
#include <limits>

namespace t5g::sampling {

void select_top(std::span<const float> row, size_t k, std::vector<Scored>& out) {
  out.clear();
  k = std::min(k, row.size());
  if (k == 0) return;
  out.reserve(2 * k);
  const auto cut = [&] {
    std::nth_element(out.begin(), out.begin() + (k - 1), out.end(), better);
    out.resize(k);
  };
  // Ids rise, so a value equal to the threshold loses to the one that set it.
  float threshold = -std::numeric_limits<float>::infinity();
  for (size_t id = 0; id < row.size(); ++id) {
    if (!(row[id] > threshold)) continue;
    out.push_back({row[id], static_cast<int32_t>(id)});
    if (out.size() == 2 * k) {
      cut();
      threshold = out[k - 1].value;
    }
  }
  if (out.size() > k) cut();
  std::sort(out.begin(), out.end(), better);
}

}  // namespace t5g::sampling
