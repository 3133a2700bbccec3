// Frequencies are formed in f32, as the reference does.
#include "ops/cpu/rotary.h"

#include <cmath>

namespace t5g {

CpuRotary::CpuRotary(const RotarySpec& spec) : head_dim_(spec.head_dim) {
  for (int i = 0; i < head_dim_ / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim_);
    const float inv_freq = 1.0f / std::pow(static_cast<float>(spec.theta), exponent);
    inv_freq_.push_back(inv_freq / static_cast<float>(spec.factor));
  }
}

}  // namespace t5g
