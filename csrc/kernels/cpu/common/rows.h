// The operations on single rows.
#pragma once

#include <cstdint>

#include "kernels/cpu/common/math.h"
#include "kernels/cpu/kernels.h"

namespace t5g::kernels {
namespace {

// scale = max|x| / 127, values = round to nearest even of x * (127 / max|x|), the product not rounded before.
void quantize_row(const float* x, int64_t k, int8_t* values, float* scales, int32_t* sums) {
  for (int64_t b = 0; b < k / kBlock; ++b) {
    const F32x16 low = load(x + b * kBlock), high = load(x + b * kBlock + 16);
    const float largest = max_lane(max(abs(low), abs(high)));
    const bool zero = largest < kSmallestQuantized;
    const F32x16 inverse = splat(zero ? 0.0f : 127.0f / largest);
    const I32x16 low_bits = as_bits(fma(low, inverse, splat(kRoundToInt)));
    const I32x16 high_bits = as_bits(fma(high, inverse, splat(kRoundToInt)));
    store_low_bytes(values + b * kBlock, low_bits);
    store_low_bytes(values + b * kBlock + 16, high_bits);
    scales[b] = zero ? 0.0f : largest / 127.0f;
    const I32x16 rounding = splat(kRoundToIntBits);
    sums[b] = sum_lanes((low_bits - rounding) + (high_bits - rounding));
  }
}

// Sum of f(v) over the 16-lane vectors v of x, the lanes beyond n zero. Four sums, for the latency of their chains;
// vector i of x always goes to sum i % 4.
template <typename F>
inline float sum_over(const float* x, int64_t n, F f) {
  F32x16 sums[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (int s = 0; s < 4; ++s) sums[s] = f(load(x + i + 16 * s), 16, sums[s]);
  }
  for (int s = 0; i < n; i += 16, ++s) sums[s] = f(load_first(x + i, lanes_left(n, i)), lanes_left(n, i), sums[s]);
  return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// 1 / sqrt(mean(x^2) + eps)
inline float inverse_rms(const float* x, float eps, int64_t n) {
  const float sum = sum_over(x, n, [](F32x16 v, int, F32x16 so_far) { return fma(v, v, so_far); });
  return 1.0f / __builtin_sqrtf(sum / static_cast<float>(n) + eps);
}

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  const F32x16 scale = splat(inverse_rms(x, eps, n));
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, load(x + i) * scale * load(weight + i));
  if (i < n) {
    const int left = lanes_left(n, i);
    store_first(out + i, load_first(x + i, left) * scale * load_first(weight + i, left), left);
  }
}

void add_rms_norm(float* x, const float* a, const float* weight, float eps, int64_t n) {
  const F32x16 scale = splat(inverse_rms(a, eps, n));
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(x + i, fma(load(a + i) * scale, load(weight + i), load(x + i)));
  if (i < n) {
    const int left = lanes_left(n, i);
    const F32x16 scaled = load_first(a + i, left) * scale;
    store_first(x + i, fma(scaled, load_first(weight + i, left), load_first(x + i, left)), left);
  }
}

// The variance is summed over x - mean, in a pass of its own: sums of squares would cancel where the mean is large.
void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* out) {
  const auto size = static_cast<float>(n);
  const float mean = sum_over(x, n, [](F32x16 v, int, F32x16 sum) { return sum + v; }) / size;
  const F32x16 shift = splat(mean);
  const float variance = sum_over(x, n,
                                  [&](F32x16 v, int lanes, F32x16 sum) {
                                    const F32x16 d = select(lanes_between(0, lanes), v - shift, splat(0.0f));
                                    return fma(d, d, sum);
                                  }) /
                         size;
  const F32x16 scale = splat(1.0f / __builtin_sqrtf(variance + eps));
  for (int64_t i = 0; i < n; i += 16) {
    const int left = lanes_left(n, i);
    const F32x16 normed = (load_first(x + i, left) - shift) * scale;
    store_first(out + i, fma(normed, load_first(weight + i, left), load_first(bias + i, left)), left);
  }
}

// 0.5 g (1 + tanh(u)) = g * sigmoid(2u), u = sqrt(2/pi) (g + 0.044715 g^3): nothing cancels for negative g.
inline F32x16 gelu_tanh(const F32x16& g) {
  const F32x16 cubic = fma(g * g, splat(0.044715f), splat(1.0f));
  const F32x16 two_u = splat(1.5957691216057308f) * g * cubic;
  const F32x16 e = exp_of_nonpositive(abs(two_u) * splat(-1.0f));
  const F32x16 numerator = select(less(two_u, splat(0.0f)), e, splat(1.0f));
  return g * (numerator / (splat(1.0f) + e));
}

void bias_gelu(float* x, const float* bias, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(x + i, gelu_tanh(load(x + i) + load(bias + i)));
  if (i < n) {
    const int left = lanes_left(n, i);
    store_first(x + i, gelu_tanh(load_first(x + i, left) + load_first(bias + i, left)), left);
  }
}

void geglu(const float* gate, const float* up, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, gelu_tanh(load(gate + i)) * load(up + i));
  if (i < n) {
    const int left = lanes_left(n, i);
    store_first(out + i, gelu_tanh(load_first(gate + i, left)) * load_first(up + i, left), left);
  }
}

void softcap(float* x, int64_t n, float cap) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(x + i, soft_cap(load(x + i), splat(cap)));
  if (i < n) store_first(x + i, soft_cap(load_first(x + i, lanes_left(n, i)), splat(cap)), lanes_left(n, i));
}

// Computed and not kept: tables of all positions of a long source would be larger than anything else that it needs, and
// reading one takes as long. The angle less the nearest multiple of pi / 2, in three parts, goes into two Taylor
// series.
void rope_angles(const float* inv_freq, float position, int n, float* cosines, float* sines) {
  for (int i = 0; i < n; i += 16) {
    const int left = lanes_left(n, i);
    const F32x16 angle = load_first(inv_freq + i, left) * splat(position);
    const F32x16 shifted = fma(angle, splat(0x1.45f306p-1f), splat(kRoundToInt));  // k = round(angle / (pi / 2))
    const F32x16 k = shifted - splat(kRoundToInt);
    F32x16 r = fma(k, splat(-0x1.921fb6p+0f), angle);
    r = fma(k, splat(0x1.777a5cp-25f), r);
    r = fma(k, splat(0x1.ee59dap-50f), r);
    const F32x16 square = r * r;
    F32x16 sine = fma(square, splat(0x1.71de3ap-19f), splat(-0x1.a01a02p-13f));
    sine = fma(sine, square, splat(0x1.111112p-7f));
    sine = fma(sine, square, splat(-0x1.555556p-3f));
    sine = fma(sine * square, r, r);
    F32x16 cosine = fma(square, splat(-0x1.27e4fcp-22f), splat(0x1.a01a02p-16f));
    cosine = fma(cosine, square, splat(-0x1.6c16c2p-10f));
    cosine = fma(cosine, square, splat(0x1.555556p-5f));
    cosine = fma(cosine, square, splat(-0.5f));
    cosine = fma(cosine, square, splat(1.0f));
    // Every quarter of a turn swaps both and turns one's sign round.
    const I32x16 quarter = as_bits(shifted);
    const Mask16 swaps = less(splat(0.5f), to_float(quarter & splat(1)));
    const F32x16 sine_sign = splat(1.0f) - to_float(quarter & splat(2));
    const F32x16 cosine_sign = splat(1.0f) - to_float((quarter + splat(1)) & splat(2));
    store_first(cosines + i, select(swaps, sine, cosine) * cosine_sign, left);
    store_first(sines + i, select(swaps, cosine, sine) * sine_sign, left);
  }
}

void rope(float* x, const float* cosines, const float* sines, int head_dim) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; i += 16) {
    const int left = lanes_left(half, i);
    const F32x16 c = load_first(cosines + i, left), s = load_first(sines + i, left);
    const F32x16 first = load_first(x + i, left), second = load_first(x + half + i, left);
    store_first(x + i, first * c - second * s, left);
    store_first(x + half + i, second * c + first * s, left);
  }
}

}  // namespace
}  // namespace t5g::kernels
