// Look-ups by name and id, and the reference decoders.
#include "quant/types.h"

#include <cctype>
#include <cstring>

#include "quant/float_types.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"

namespace t5g {
namespace {

// Blocks are copied out one by one: a row of a mapped file need not be aligned for its block's fields.
template <typename Block>
void decode_row(const void* row, int64_t k, int block_values, float* out) {
  const auto* bytes = static_cast<const unsigned char*>(row);
  for (int64_t i = 0; i < k; i += block_values, bytes += sizeof(Block)) {
    Block block;
    std::memcpy(&block, bytes, sizeof block);
    decode(block, out + i);
  }
}

}  // namespace

std::string type_name(DataType type) {
  std::string name(info(type).name);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

std::optional<DataType> type_from_name(std::string_view name) {
  for (int i = 0; i < kNumDataTypes; ++i) {
    const std::string_view known = kDataTypes[static_cast<size_t>(i)].name;
    bool same = known.size() == name.size();
    for (size_t j = 0; same && j < name.size(); ++j)
      same = std::toupper(static_cast<unsigned char>(name[j])) == std::toupper(static_cast<unsigned char>(known[j]));
    if (same) return static_cast<DataType>(i);
  }
  return std::nullopt;
}

std::optional<DataType> type_from_gguf_id(uint32_t gguf_id) {
  for (int i = 0; i < kNumDataTypes; ++i) {
    if (kDataTypes[static_cast<size_t>(i)].gguf_id == gguf_id) return static_cast<DataType>(i);
  }
  return std::nullopt;
}

void dequantize_row(DataType type, const void* row, int64_t k, float* out) {
  switch (type) {
#define T5G_TYPE(name, id, values, bytes)                                                 \
  case DataType::k##name:                                                                 \
    static_assert(sizeof(Block##name) == bytes, "block struct and types.inc must agree"); \
    return decode_row<Block##name>(row, k, values, out);
#include "quant/types.inc"
#undef T5G_TYPE
  }
}

}  // namespace t5g
