// Activations for BF16 weights.
#pragma once

#include "kernels/cpu/kernels.h"
#include T5G_PAIRS  // the level's own, named by its source file

namespace t5g::kernels {
namespace {

void round_row(const float* x, int64_t k, uint16_t* out) {
  int64_t i = 0;
  for (; i + 16 <= k; i += 16) store_bf16(reinterpret_cast<std::byte*>(out + i), load(x + i));
  if (i == k) return;
  uint16_t last[16];
  store_bf16(reinterpret_cast<std::byte*>(last), load_first(x + i, static_cast<int>(k - i)));
  for (int j = 0; i + j < padded_to_pairs(k); ++j) out[i + j] = last[j];
}

}  // namespace
}  // namespace t5g::kernels
