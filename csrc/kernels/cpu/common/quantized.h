// The table of a level that only has faster integer dot products than the level it inherits from.
#pragma once

#include "kernels/cpu/common/attention_q8_0.h"
#include "kernels/cpu/common/matmul.h"
#include "kernels/cpu/common/planes.h"
#include "kernels/cpu/kernels.h"

namespace t5g::kernels {
namespace {

// The matrix product of a type whose blocks are multiplied as integers; none for the float types.
template <typename Format>
constexpr KernelOf<MatmulArgs> quantized_matmul() {
  if constexpr (Format::kFloat) {
    return nullptr;
  } else {
    return &matmul<Format>;
  }
}

constexpr KernelTable table_of_quantized(const char* name, uint64_t required_features) {
  KernelTable table = {};
  table.name = name;
  table.required_features = required_features;
  table.matmul = {
#define T5G_TYPE(type, id, values, bytes) quantized_matmul<Packed##type>(),
#include "quant/types.inc"
#undef T5G_TYPE
  };
  table.kv[static_cast<size_t>(KvQ8_0::kType)].attend = &attend<KvQ8_0>;
  table.bound_groups = &bound_groups;
  table.score_groups = &score_groups;
  return table;
}

}  // namespace
}  // namespace t5g::kernels
