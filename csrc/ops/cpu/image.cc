// The two ops that know that rows are places in an image.
#include <algorithm>

#include "ops/cpu/cpu_ops.h"

namespace t5g {

void CpuOps::patches(std::span<const uint8_t> pixels, const PatchSpec& spec, int64_t first, Tensor out_rows) {
  const HostTensor out = on_host(out_rows);
  const int64_t side = spec.patches_per_side(), size = spec.patch_size, stride = int64_t{spec.image_size} * 3;
  for_each_row(out.rows, out.cols, [&](int64_t i) {
    const int64_t patch = first + i;
    const uint8_t* corner = pixels.data() + patch / side * size * stride + patch % side * size * 3;
    float* to = out.row(i);
    for (int channel = 0; channel < 3; ++channel) {
      for (int64_t y = 0; y < size; ++y) {
        const uint8_t* from = corner + y * stride + channel;
        for (int64_t x = 0; x < size; ++x)
          *to++ = (static_cast<float>(from[3 * x]) / 255.0f - spec.mean[channel]) / spec.std[channel];
      }
    }
  });
}

void CpuOps::mean_pool(Tensor x_rows, int64_t window, Tensor out_rows) {
  const HostTensor x = on_host(x_rows), out = on_host(out_rows);
  int64_t out_side = 1;
  while (out_side * out_side < out.rows) ++out_side;
  const int64_t side = out_side * window;
  const float share = 1.0f / static_cast<float>(window * window);
  for_each_row(out.rows, window * window * x.cols, [&](int64_t i) {
    const int64_t corner = i / out_side * window * side + i % out_side * window;
    float* to = out.row(i);
    std::fill_n(to, x.cols, 0.0f);
    for (int64_t row = 0; row < window * window; ++row) {
      const float* from = x.row(corner + row / window * side + row % window);
      for (int64_t j = 0; j < x.cols; ++j) to[j] += from[j];
    }
    for (int64_t j = 0; j < x.cols; ++j) to[j] *= share;
  });
}

}  // namespace t5g
