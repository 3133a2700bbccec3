// Checking a metadata value on the way in, so that whoever looks at it later needs no checks.
#include "gguf/value.h"

#include <algorithm>
#include <array>
#include <bit>

namespace t5g::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "t5g reads little-endian files on little-endian machines");

struct TypeRow {
  std::string_view name;
  uint64_t min_bytes;  // of one element; exact but for strings, which need at least their length
};
constexpr std::array<TypeRow, kNumValueTypes> kTypes = {{{"u8", 1},
                                                         {"i8", 1},
                                                         {"u16", 2},
                                                         {"i16", 2},
                                                         {"u32", 4},
                                                         {"i32", 4},
                                                         {"f32", 4},
                                                         {"bool", 1},
                                                         {"string", 8},
                                                         {"array", 0},
                                                         {"u64", 8},
                                                         {"i64", 8},
                                                         {"f64", 8}}};

ValueType checked_type(uint32_t id, const std::string& where, std::string_view what) {
  if (id >= kNumValueTypes) {
    throw ModelFormatError(where, std::string(what) + ": value type " + std::to_string(id) +
                                      " is unknown, expected 0 to " + std::to_string(kNumValueTypes - 1) +
                                      ". The file is damaged.");
  }
  return static_cast<ValueType>(id);
}

void check_bools(const Value& value, const std::string& where, std::string_view what) {
  const auto bad = std::find_if(value.bytes.begin(), value.bytes.end(), [](std::byte b) { return b > std::byte{1}; });
  if (bad != value.bytes.end()) {
    throw ModelFormatError(where, std::string(what) + ": a bool is " + std::to_string(std::to_integer<int>(*bad)) +
                                      ", expected 0 or 1. The file is damaged.");
  }
}

}  // namespace

std::string_view value_type_name(ValueType type) { return kTypes[static_cast<size_t>(type)].name; }

std::string describe(const Value& value) {
  return (value.is_array ? "array of " : "") + std::string(value_type_name(value.type));
}

Value read_value(Cursor& cursor, uint32_t type_id, const std::string& where, std::string_view what) {
  Value value{checked_type(type_id, where, what), false, 1, {}};
  if (value.type == ValueType::kArray) {
    value.is_array = true;
    value.type = checked_type(cursor.read<uint32_t>(what), where, what);
    value.count = cursor.read<uint64_t>(what);
    if (value.type == ValueType::kArray) {
      throw ModelFormatError(where, std::string(what) + ": an array of arrays, which t5g does not read.");
    }
  }
  const uint64_t min_bytes = kTypes[static_cast<size_t>(value.type)].min_bytes;
  // Divided, not multiplied: count * min_bytes could overflow.
  if (value.count > cursor.remaining() / min_bytes) {
    throw ModelFormatError(where, std::string(what) + ": " + describe(value) + " with " + std::to_string(value.count) +
                                      " elements, but only " + std::to_string(cursor.remaining()) +
                                      " bytes are left. The file is truncated or damaged: download or copy it again.");
  }
  if (value.type == ValueType::kString) {
    Cursor strings = cursor;
    for (uint64_t i = 0; i < value.count; ++i) strings.string(what);
    value.bytes = cursor.take(strings.position() - cursor.position(), what);
  } else {
    value.bytes = cursor.take(value.count * min_bytes, what);
  }
  if (value.type == ValueType::kBool) check_bools(value, where, what);
  return value;
}

}  // namespace t5g::gguf
