// log(sum(exp(x))) of a row of logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

namespace t5g::sampling {

inline float log_sum_exp(std::span<const float> row) {
  const float largest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(x - largest);
  return largest + static_cast<float>(std::log(sum));
}

}  // namespace t5g::sampling
