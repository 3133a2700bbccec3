// Q5_1: 32 values of 5 bits, a scale and a minimum; value = scale * bits + minimum.
#pragma once

#include <cstdint>

#include "base/half.h"

namespace t5g {

struct BlockQ5_1 {
  uint16_t scale;         // f16
  uint16_t minimum;       // f16
  uint8_t fifth_bits[4];  // bit i, counted from the lowest bit of byte 0: the fifth bit of value i
  uint8_t nibbles[16];    // byte j: value j in the low four bits, value j + 16 in the high ones
};

inline void decode(const BlockQ5_1& block, float* out) {
  const float scale = half_to_float(block.scale), minimum = half_to_float(block.minimum);
  for (int i = 0; i < 32; ++i) {
    const int nibble = i < 16 ? block.nibbles[i] & 15 : block.nibbles[i - 16] >> 4;
    const int fifth = (block.fifth_bits[i / 8] >> (i % 8)) & 1;
    out[i] = scale * static_cast<float>(nibble | fifth << 4) + minimum;
  }
}

}  // namespace t5g
