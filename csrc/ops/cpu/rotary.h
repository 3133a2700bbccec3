// Frequencies of rotary position embeddings. Cosines and sines are computed where they are used.
#pragma once

#include <vector>

#include "ops/ops.h"

namespace t5g {

class CpuRotary final : public Rotary {
 public:
  explicit CpuRotary(const RotarySpec& spec);

  int head_dim() const { return head_dim_; }
  // [head_dim / 2]
  const float* inv_freq() const { return inv_freq_.data(); }

 private:
  const int head_dim_;
  std::vector<float> inv_freq_;
};

}  // namespace t5g
