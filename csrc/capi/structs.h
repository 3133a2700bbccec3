// Structs that may grow: each side may know fewer fields than the other, and says how many bytes it knows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "base/error.h"
#include "capi/guard.h"

namespace t5g::capi {

// More than any struct will ever have: what is beyond is no size.
inline constexpr size_t kMaxStructSize = 4096;

// The size that a caller knows. So far there is one version of each struct, which is the least.
inline size_t checked_size(size_t struct_size, size_t least, const char* name) {
  if (struct_size < least || struct_size > kMaxStructSize) {
    fail(name, "struct_size is " + std::to_string(struct_size) + ", expected " + std::to_string(least) +
                   " or more. Set it to the size of the struct, or let the init function do so.");
  }
  return struct_size;
}

// Puts `value` where a caller of any version wants it; what only he knows becomes 0. The caller's struct_size stays.
template <class T>
void give(T* out, size_t struct_size, T value, const char* name) {
  required(out, name);
  checked_size(struct_size, sizeof(T), name);
  value.struct_size = struct_size;
  std::memset(static_cast<void*>(out), 0, struct_size);
  std::memcpy(static_cast<void*>(out), &value, sizeof value);
}

// What a caller of any version gives, or the defaults for NULL. What a newer one has set and this library does not know
// is refused: it would have no effect.
template <class T>
T take(const T* given, const T& defaults, const char* name) {
  if (given == nullptr) return defaults;
  const size_t size = checked_size(given->struct_size, sizeof(T), name);
  const auto* bytes = reinterpret_cast<const char*>(given);
  if (std::any_of(bytes + sizeof(T), bytes + size, [](char byte) { return byte != 0; }))
    throw Unsupported(std::string(name) + ": has a field that this version of t5g does not know. Use a newer libt5g.");
  T value;
  std::memcpy(static_cast<void*>(&value), given, sizeof value);
  return value;
}

}  // namespace t5g::capi
