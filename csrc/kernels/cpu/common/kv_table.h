// The kernels of every type of keys and values.
#pragma once

#include "kernels/cpu/common/attention.h"
#include "kernels/cpu/common/attention_pairs.h"
#include "kernels/cpu/common/attention_q8_0.h"

namespace t5g::kernels {
namespace {

// Where the kernels of a format are: those that store and prepare are its own, attention is written once for all that
// are read as single numbers, and once for pairs.
template <typename Format>
struct KvKernelsOf : Format {
  static constexpr auto* attend = &kernels::attend<Format>;
};
template <>
struct KvKernelsOf<KvBF16> : KvBF16 {
  static constexpr auto* attend = &attend_pairs;
};

template <typename Format>
constexpr void add_kv_kernels(KernelTable& table) {
  KvKernels& kv = table.kv[static_cast<size_t>(Format::kType)];
#define T5G_KERNEL_OF_KV_TYPE(kernel, parameters) kv.kernel = KvKernelsOf<Format>::kernel;
#include "kernels/cpu/kernels.inc"
}

constexpr void add_all_kv_kernels(KernelTable& table) {
  add_kv_kernels<KvF32>(table);
  add_kv_kernels<KvF16>(table);
  add_kv_kernels<KvBF16>(table);
  add_kv_kernels<KvQ8_0>(table);
}

}  // namespace
}  // namespace t5g::kernels
