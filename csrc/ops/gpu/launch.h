// One launch as ops enqueue it: a kernel, its grid and its arguments, as bytes. A list of them is a pass: what fusion
// rewrites, and what a plan is found by.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/ceil_div.h"
#include "kernels/gpu/kernels.h"
#include "ops/gpu/driver.h"

namespace t5g::gpu {

// Of a grid in which each group works on so many of n things.
inline uint32_t groups(int64_t n, int64_t per_group) { return static_cast<uint32_t>(ceil_div(n, per_group)); }

struct Launch {
  KernelId kernel{};
  Grid grid;
  std::array<std::byte, kMaxArgsBytes> bytes{};

  Launch() = default;
  template <typename Args>
  Launch(KernelId id, Grid where, const Args& args) : kernel(id), grid(where) {
    static_assert(std::is_trivially_copyable_v<Args>);
    assert(sizeof args == info(id).args_bytes);
    std::memcpy(bytes.data(), &args, sizeof args);
  }

  std::span<const std::byte> args_bytes() const { return std::span(bytes).first(info(kernel).args_bytes); }
  template <typename Args>
  Args args() const {
    assert(sizeof(Args) == info(kernel).args_bytes);
    Args args;
    std::memcpy(&args, bytes.data(), sizeof args);
    return args;
  }
  bool operator==(const Launch& other) const {
    return kernel == other.kernel && grid.x == other.grid.x && grid.y == other.grid.y && grid.z == other.grid.z &&
           bytes == other.bytes;
  }
};

// Device addresses as kernels' arguments spell them.
template <typename T>
inline T* pointer_to(Address address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace t5g::gpu
