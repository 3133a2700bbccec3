// Cosines and sines of rotary position embeddings, computed once per position and kept.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/ops.h"

namespace t5g {

class CpuRotary final : public Rotary {
 public:
  explicit CpuRotary(const RotarySpec& spec);

  // Makes the positions [0, n_positions) available. For the one pass that holds the device, outside loops.
  void reserve(int64_t n_positions) const;

  int head_dim() const { return head_dim_; }
  // [head_dim / 2] each. The position must have been reserved.
  const float* cosines(int64_t position) const { return entry(position); }
  const float* sines(int64_t position) const { return entry(position) + head_dim_ / 2; }

 private:
  static constexpr int64_t kPositionsPerBlock = 256;
  const float* entry(int64_t position) const {
    return blocks_[static_cast<size_t>(position / kPositionsPerBlock)].get() +
           position % kPositionsPerBlock * head_dim_;
  }

  const int head_dim_;
  std::vector<float> inv_freq_;
  mutable std::vector<std::unique_ptr<float[]>> blocks_;
};

}  // namespace t5g
