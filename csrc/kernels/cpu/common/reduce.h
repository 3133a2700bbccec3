// The operations over a whole vocabulary: argmax and log-sum-exp.
#pragma once

#include <cstdint>

#include "kernels/cpu/common/math.h"
#include "kernels/cpu/common/rows.h"

namespace t5g::kernels {
namespace {

// The largest of x [n], n > 0; -infinity if all are NaN.
inline float largest_of(const float* x, int64_t n) {
  // max(a, b) is b when either is NaN: the running value goes second, so a NaN never enters it.
  F32x16 first = splat(-kInfinity), second = first;
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    first = max(load(x + i), first);
    second = max(load(x + i + 16), second);
  }
  for (; i < n; i += 16) {
    const int left = lanes_left(n, i);
    first = max(select(lanes_between(0, left), load_first(x + i, left), splat(-kInfinity)), first);
  }
  return max_lane(max(first, second));
}

// The largest value of every stretch is found first; only a stretch that improves on all before it is looked into.
int64_t argmax(const float* x, int64_t n) {
  constexpr int64_t kStretch = 1024;
  float best = -kInfinity;
  int64_t best_stretch = 0;
  for (int64_t i = 0; i < n; i += kStretch) {
    const float largest = largest_of(x + i, n - i < kStretch ? n - i : kStretch);
    if (largest > best) {
      best = largest;
      best_stretch = i;
    }
  }
  for (int64_t i = best_stretch; i < n; ++i) {
    if (x[i] == best) return i;
  }
  return 0;  // NaN everywhere
}

float log_sum_exp(const float* x, int64_t n) {
  const float largest = largest_of(x, n);
  if (largest == -kInfinity || largest == kInfinity) return largest;
  const F32x16 shift = splat(largest);
  // Stretches are summed in float and added in double: the error does not grow with the vocabulary.
  constexpr int64_t kStretch = 4096;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kStretch) {
    const int64_t end = n - begin < kStretch ? n : begin + kStretch;
    F32x16 sum = splat(0.0f);
    int64_t i = begin;
    for (; i + 16 <= end; i += 16) sum = sum + exp_of_nonpositive(load(x + i) - shift);
    if (i < end) {
      const int left = lanes_left(end, i);
      const F32x16 e = exp_of_nonpositive(load_first(x + i, left) - shift);
      sum = sum + select(lanes_between(0, left), e, splat(0.0f));
    }
    total += static_cast<double>(sum_lanes(sum));
  }
  return largest + static_cast<float>(__builtin_log(total));
}

}  // namespace
}  // namespace t5g::kernels
