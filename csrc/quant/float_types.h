// F32, F16 and BF16 as "blocks" of one value, so that every type is decoded the same way.
#pragma once

#include <cstdint>

#include "base/half.h"

namespace t5g {

struct BlockF32 {
  float value;
};
struct BlockF16 {
  uint16_t value;
};
struct BlockBF16 {
  uint16_t value;
};

inline void decode(const BlockF32& block, float* out) { *out = block.value; }
inline void decode(const BlockF16& block, float* out) { *out = half_to_float(block.value); }
inline void decode(const BlockBF16& block, float* out) { *out = bfloat16_to_float(block.value); }

}  // namespace t5g
