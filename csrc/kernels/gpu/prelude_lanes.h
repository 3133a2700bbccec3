// What lanes of a warp say to each other on GPUs, made of warp_shuffle_xor(): the same steps in the same order on all.
#pragma once

namespace t5g {
namespace gpu {

// The first n values of this lane and the one that differs from it in mask change places.
template <u32 kMost>
GPU_FN void warp_exchange(PRIVATE f32 (&x)[kMost], u32 n, u32 mask) {
  UNROLL for (u32 i = 0; i < kMost; ++i) {
    if (i < n) x[i] = warp_shuffle_xor(x[i], mask);
  }
}

// The sum (largest) of kLanes neighbouring lanes, in all of them: in the same order on every device.
template <u32 kLanes, typename T>
GPU_FN T lanes_sum(T x) {
  UNROLL for (u32 mask = 1; mask < kLanes; mask *= 2) x += warp_shuffle_xor(x, mask);
  return x;
}
template <u32 kLanes>
GPU_FN f32 lanes_max(f32 x) {
  UNROLL for (u32 mask = 1; mask < kLanes; mask *= 2) x = max_(x, warp_shuffle_xor(x, mask));
  return x;
}
// What Combine::of() makes of their values, which are pairs of value and id.
template <u32 kLanes, typename Combine, typename T>
GPU_FN T lanes_combined(T x) {
  UNROLL for (u32 mask = 1; mask < kLanes; mask *= 2) {
    T other;
    other.value = warp_shuffle_xor(x.value, mask);
    other.id = warp_shuffle_xor(x.id, mask);
    x = Combine::of(x, other);
  }
  return x;
}

}  // namespace gpu
}  // namespace t5g
