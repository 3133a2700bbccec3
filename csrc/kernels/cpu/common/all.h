// Every kernel, and the table of a level that has them all.
#pragma once

#include "kernels/cpu/common/kv_table.h"
#include "kernels/cpu/common/matmul.h"
#include "kernels/cpu/common/merge.h"
#include "kernels/cpu/common/planes.h"
#include "kernels/cpu/common/reduce.h"
#include "kernels/cpu/common/round.h"
#include "kernels/cpu/common/rows.h"
#include "kernels/cpu/kernels.h"

namespace t5g::kernels {
namespace {

constexpr KernelTable table_of_all(const char* name, uint64_t required_features) {
  return {
      name,
      required_features,
#define T5G_TYPE(type, id, values, bytes) &matmul<Packed##type>,
      {
#include "quant/types.inc"
      },
#undef T5G_TYPE
      &bound_groups,
      &score_groups,
      &quantize_row,
      &round_row,
      &rms_norm,
      &add_rms_norm,
      &layer_norm,
      &bias_gelu,
      &geglu,
      &softcap,
      &rope,
      all_kv_kernels(),
      &merge,
      &argmax,
      &log_sum_exp,
  };
}

}  // namespace
}  // namespace t5g::kernels
