// The kernels of every type of keys and values.
#pragma once

#include "kernels/cpu/common/attention.h"
#include "kernels/cpu/common/attention_pairs.h"

namespace t5g::kernels {
namespace {

template <typename Format>
constexpr void add_kv_kernels(std::array<KvKernels, kNumDataTypes>& table) {
  table[static_cast<size_t>(Format::kType)] = {&Format::prepare_query, &Format::store_token, &attend<Format>};
}

template <>
constexpr void add_kv_kernels<KvBF16>(std::array<KvKernels, kNumDataTypes>& table) {
  table[static_cast<size_t>(DataType::kBF16)] = {&KvBF16::prepare_query, &KvBF16::store_token, &attend_pairs};
}

constexpr std::array<KvKernels, kNumDataTypes> all_kv_kernels() {
  std::array<KvKernels, kNumDataTypes> table = {};
  add_kv_kernels<KvF32>(table);
  add_kv_kernels<KvF16>(table);
  add_kv_kernels<KvBF16>(table);
  add_kv_kernels<KvQ8_0>(table);
  return table;
}

}  // namespace
}  // namespace t5g::kernels
