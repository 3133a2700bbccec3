// The data types of tensors, and their sizes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace t5g {

enum class DataType : uint8_t {
#define T5G_TYPE(name, id, values, bytes) k##name,
#include "quant/types.inc"
#undef T5G_TYPE
};

struct DataTypeInfo {
  std::string_view name;  // as the GGUF format spells it: "Q8_0"
  uint32_t gguf_id;
  int block_values;  // values that share one block
  int block_bytes;
};

inline constexpr std::array kDataTypes = {
#define T5G_TYPE(name, id, values, bytes) DataTypeInfo{#name, id, values, bytes},
#include "quant/types.inc"
#undef T5G_TYPE
};
inline constexpr int kNumDataTypes = static_cast<int>(kDataTypes.size());

inline constexpr const DataTypeInfo& info(DataType type) { return kDataTypes[static_cast<size_t>(type)]; }

// Lower-case name, as the command line spells it.
std::string type_name(DataType type);
// Case-insensitive; empty when there is no such type.
std::optional<DataType> type_from_name(std::string_view name);
std::optional<DataType> type_from_gguf_id(uint32_t gguf_id);

inline constexpr bool is_quantized(DataType type) { return info(type).block_values > 1; }

// Bytes of one row of k values; k must be a multiple of the block.
inline constexpr size_t row_bytes(DataType type, int64_t k) {
  return static_cast<size_t>(k / info(type).block_values) * static_cast<size_t>(info(type).block_bytes);
}

// Reference decoder: k values of one row to float, exactly as gguf-py's dequantize.
void dequantize_row(DataType type, const void* row, int64_t k, float* out);

}  // namespace t5g
