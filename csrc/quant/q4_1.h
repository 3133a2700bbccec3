// Q4_1: 32 values of 4 bits, a scale and a minimum; value = scale * nibble + minimum.
#pragma once

#include <cstdint>

#include "base/half.h"

namespace t5g {

struct BlockQ4_1 {
  uint16_t scale;       // f16
  uint16_t minimum;     // f16
  uint8_t nibbles[16];  // byte j: value j in the low four bits, value j + 16 in the high ones
};

inline void decode(const BlockQ4_1& block, float* out) {
  const float scale = half_to_float(block.scale), minimum = half_to_float(block.minimum);
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>(block.nibbles[j] & 15) + minimum;
    out[j + 16] = scale * static_cast<float>(block.nibbles[j] >> 4) + minimum;
  }
}

}  // namespace t5g
