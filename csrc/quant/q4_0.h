// Q4_0: 32 values of 4 bits around 8 and one scale; value = scale * (nibble - 8).
#pragma once

#include <cstdint>

#include "base/half.h"

namespace t5g {

struct BlockQ4_0 {
  uint16_t scale;       // f16
  uint8_t nibbles[16];  // byte j: value j in the low four bits, value j + 16 in the high ones
};

inline void decode(const BlockQ4_0& block, float* out) {
  const float scale = half_to_float(block.scale);
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>((block.nibbles[j] & 15) - 8);
    out[j + 16] = scale * static_cast<float>((block.nibbles[j] >> 4) - 8);
  }
}

}  // namespace t5g
