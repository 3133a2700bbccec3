// Look-ups by name and id, and the reference decoders.
#include "quant/types.h"

#include <cctype>

namespace t5g {

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

}  // namespace t5g
