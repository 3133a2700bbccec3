// Q8_0: 32 signed bytes and one scale; value = scale * byte. The one type that weights are also encoded in here.
#pragma once

#include <algorithm>
#include <cmath>
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

// Values are divided by the scale as it is stored, which loses bits when it is small: then it is a subnormal f16.
inline void encode(const float* values, BlockQ8_0& block) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(values[i]));
  block.scale = float_to_half(largest / 127.0f);
  const float scale = half_to_float(block.scale), inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int i = 0; i < 32; ++i) {
    const float value = std::min(127.0f, std::max(-127.0f, values[i] * inverse));  // in this order a number for NaN too
    block.values[i] = static_cast<int8_t>(value + (value < 0 ? -0.5f : 0.5f));
  }
}

}  // namespace t5g
