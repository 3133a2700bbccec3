// Q8_0: 32 signed bytes and one scale; value = scale * byte.
#pragma once

#include <cstdint>

#include "base/half.h"

namespace t5g {

struct BlockQ8_0 {
  uint16_t scale;  // f16
  int8_t values[32];
};

inline void decode(const BlockQ8_0& block, float* out) {
  const float scale = half_to_float(block.scale);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(block.values[i]);
}

}  // namespace t5g
