// What kernels_selftest runs: for each kernel that is called with a struct, named by its row in kernels.inc, calls on
// seeded random data whose results every level must have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/kernels.h"

using Result = std::vector<uint8_t>;

struct Case {
  std::string name;
  std::function<Result(const t5g::kernels::KernelTable&)> run;
};

class Random {
 public:
  explicit Random(int64_t seed) : engine_(static_cast<uint32_t>(seed)) {}

  std::vector<float> floats(size_t n, float scale = 1.0f) {
    std::vector<float> values(n);
    for (float& v : values) v = scale * (static_cast<float>(engine_() >> 8) * 0x1p-23f - 1.0f);
    return values;
  }
  template <typename T>
  std::vector<T> integers(size_t n) {
    std::vector<T> values(n);
    for (T& v : values) v = static_cast<T>(engine_() >> 24);
    return values;
  }
  int below(int n) { return static_cast<int>(engine_() % static_cast<uint32_t>(n)); }

 private:
  std::mt19937 engine_;  // the same numbers on every platform
};

template <typename T>
void append(Result& result, const std::vector<T>& values) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  result.insert(result.end(), bytes, bytes + values.size() * sizeof(T));
}

// matmul_cases(), ...
#define T5G_KERNEL_OF_ARGS(kernel, Args) std::vector<Case> kernel##_cases();
#define T5G_KERNEL_OF_TYPE(kernel, Args) std::vector<Case> kernel##_cases();
#define T5G_KERNEL_OF_KV_TYPE(kernel, parameters) std::vector<Case> kernel##_cases();
#include "kernels/cpu/kernels.inc"
