// An output head split into planes (see kernels/cpu/planes.h), so that its largest outputs can be found from about half
// of its bytes, while all of them can still be had. It takes the memory of the original blocks and 0.2 % more.
#pragma once

#include "base/thread_pool.h"
#include "kernels/cpu/kernels.h"
#include "ops/ops.h"
#include "tensor/buffer.h"

namespace t5g {

class PlaneMatrix final : public LoadedWeight {
 public:
  using LoadedWeight::LoadedWeight;
  // Whether a matrix can be split and is large enough for that to pay.
  static bool suits(const WeightView& weight);

  // Splits with the pool's help if that has not been done. Called by the one pass that holds the pool.
  void pack(ThreadPool& pool, Interrupt* interrupt) const;
  // After pack().
  kernels::Planes planes() const;
  // Whether upper bounds can be trusted.
  bool finite() const { return finite_; }
  int64_t n_groups() const { return (rows() + kernels::kGroupRows - 1) / kernels::kGroupRows; }

 private:
  mutable Buffer coarse_, fine_, norms_;
  mutable bool finite_ = true;
};

}  // namespace t5g
