// Angles are formed in f32 as position * inv_freq, as the reference does: double precision would drift away from it at
// large positions.
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

void CpuRotary::reserve(int64_t n_positions) const {
  while (static_cast<int64_t>(blocks_.size()) * kPositionsPerBlock < n_positions) {
    const int64_t first = static_cast<int64_t>(blocks_.size()) * kPositionsPerBlock;
    auto block = std::make_unique<float[]>(static_cast<size_t>(kPositionsPerBlock * head_dim_));
    float* out = block.get();
    for (int64_t position = first; position < first + kPositionsPerBlock; ++position, out += head_dim_) {
      for (int i = 0; i < head_dim_ / 2; ++i) {
        const float angle = static_cast<float>(position) * inv_freq_[static_cast<size_t>(i)];
        out[i] = std::cos(angle);
        out[head_dim_ / 2 + i] = std::sin(angle);
      }
    }
    blocks_.push_back(std::move(block));
  }
}

}  // namespace t5g
