// Every kernel, and the table of a level that has them all.
#pragma once

#include "kernels/cpu/common/kv_table.h"
#include "kernels/cpu/common/latent.h"
#include "kernels/cpu/common/matmul.h"
#include "kernels/cpu/common/merge.h"
#include "kernels/cpu/common/planes.h"
#include "kernels/cpu/common/reduce.h"
#include "kernels/cpu/common/round.h"
#include "kernels/cpu/common/rows.h"
#include "kernels/cpu/kernels.h"

namespace t5g::kernels {
namespace {

// Those of one data type of weights.
template <typename Format>
constexpr void add_kernels_of_type(DataType type, KernelTable& table) {
#define T5G_KERNEL_OF_TYPE(kernel, Args) table.kernel[static_cast<size_t>(type)] = &kernel<Format>;
#include "kernels/cpu/kernels.inc"
}

constexpr KernelTable table_of_all(const char* name, uint64_t required_features) {
  KernelTable table = {};
  table.name = name;
  table.required_features = required_features;
#define T5G_KERNEL(kernel, result, parameters, shapes) table.kernel = &kernel;
#define T5G_KERNEL_OF_ARGS(kernel, Args) table.kernel = &kernel;
#include "kernels/cpu/kernels.inc"
#define T5G_TYPE(type, id, values, bytes) add_kernels_of_type<Packed##type>(DataType::k##type, table);
#include "quant/types.inc"
#undef T5G_TYPE
  add_all_kv_kernels(table);
  return table;
}

}  // namespace
}  // namespace t5g::kernels
