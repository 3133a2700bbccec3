// One metadata value as it lies in the file: its type and its checked bytes, converted only when somebody asks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "gguf/cursor.h"

namespace t5g::gguf {

// The numbers are those of the format.
enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
inline constexpr uint32_t kNumValueTypes = 13;

// "u8", "f32", "string", "array", ...
std::string_view value_type_name(ValueType type);

struct Value {
  ValueType type;  // of the elements, for an array; never kArray
  bool is_array;
  uint64_t count;                    // elements; 1 when it is not an array
  std::span<const std::byte> bytes;  // the elements, one after the other; each string with its length before it
};

// "u32" or "array of string".
std::string describe(const Value& value);

// Reads a value of the type with this id and checks all of it: type, length, bools, strings. `what` names it in errors.
Value read_value(Cursor& cursor, uint32_t type_id, const std::string& where, std::string_view what);

// Calls f with a zero of the C++ type of `type`'s numbers; false for bool, string and array, which are no numbers.
template <class F>
bool visit_number_type(ValueType type, F&& f) {
  switch (type) {
    case ValueType::kU8:
      return f(uint8_t{}), true;
    case ValueType::kI8:
      return f(int8_t{}), true;
    case ValueType::kU16:
      return f(uint16_t{}), true;
    case ValueType::kI16:
      return f(int16_t{}), true;
    case ValueType::kU32:
      return f(uint32_t{}), true;
    case ValueType::kI32:
      return f(int32_t{}), true;
    case ValueType::kF32:
      return f(float{}), true;
    case ValueType::kU64:
      return f(uint64_t{}), true;
    case ValueType::kI64:
      return f(int64_t{}), true;
    case ValueType::kF64:
      return f(double{}), true;
    case ValueType::kBool:
    case ValueType::kString:
    case ValueType::kArray:
      return false;
  }
  return false;
}

// Element i of a checked value of numbers; the file does not align them.
template <class T>
T load_number(const Value& value, uint64_t i) {
  static_assert(std::is_arithmetic_v<T>);
  T number;
  std::memcpy(&number, value.bytes.data() + i * sizeof number, sizeof number);
  return number;
}

// Calls f(std::string_view) for every string of a checked value of strings.
template <class F>
void for_each_string(const Value& value, F&& f) {
  const std::byte* position = value.bytes.data();
  for (uint64_t i = 0; i < value.count; ++i) {
    uint64_t length = 0;
    std::memcpy(&length, position, sizeof length);
    position += sizeof length;
    f(std::string_view(reinterpret_cast<const char*>(position), length));
    position += length;
  }
}

}  // namespace t5g::gguf
