// What the tests of GPU kernels share: launches on the emulation, in changing orders of groups and threads, memory
// whose end AddressSanitizer sees, and weights of every type. Results are compared with double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "kernels/gpu/emulator/emulated.h"
#include "kernels/gpu/pack.h"

namespace t5g::gpu::test {

using emulator::Grid;
using Values = std::vector<float>;

// Says what does not hold, and counts it.
void check(bool holds, const std::string& what, double error = 0);
int failures();

// Launches a kernel in the next order: forward, backward, shuffled.
void launch(KernelId kernel, Grid grid, const void* args, size_t args_bytes);
template <typename Args>
void launch(KernelId kernel, Grid grid, const Args& args) {
  launch(kernel, grid, &args, sizeof args);
}
// Kernels that no test has launched.
std::vector<std::string> not_launched();

// Memory of the device: of its exact size, so that AddressSanitizer sees the first byte beyond.
template <typename T>
class Memory {
 public:
  explicit Memory(const std::vector<T>& from) : Memory(from.size()) { std::copy(from.begin(), from.end(), data_); }
  explicit Memory(size_t size, T value = {})
      : size_(size), data_(static_cast<T*>(std::aligned_alloc(16, round_up(std::max<size_t>(size * sizeof(T), 1))))) {
    std::fill_n(data_, size, value);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { std::free(data_); }

  T* data() const { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) const { return data_[i]; }
  std::vector<T> values() const { return {data_, data_ + size_}; }

 private:
  static size_t round_up(size_t n) { return (n + 15) / 16 * 16; }
  const size_t size_;
  T* const data_;
};

// The same numbers on every platform.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(engine_() >> 8) * 0x1p-24f; }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(engine_()) % n; }
  Values floats(size_t n, float range = 1) {
    Values values(n);
    for (float& v : values) v = uniform(-range, range);
    return values;
  }

 private:
  std::mt19937 engine_;
};

// A weight of random blocks, packed, and what it stands for.
class PackedWeight {
 public:
  PackedWeight(DataType type, int64_t rows, int64_t cols, uint32_t seed);
  Weight weight() const { return layout_.at(reinterpret_cast<uint64_t>(memory_.data()), layout_.cols); }
  const Values& dense() const { return dense_; }  // [rows, cols]
  const float* row(size_t i) const { return dense_.data() + i * static_cast<size_t>(layout_.cols); }

 private:
  const WeightLayout layout_;
  Values dense_;
  Memory<std::byte> memory_;
};

inline std::vector<DataType> all_types() {
  std::vector<DataType> types;
  for (int i = 0; i < kNumDataTypes; ++i) types.push_back(static_cast<DataType>(i));
  return types;
}

inline uint32_t divide_up(uint64_t a, uint64_t b) { return static_cast<uint32_t>((a + b - 1) / b); }

void test_emulator();   // cases_emulator.cc
void test_rows();       // cases_rows.cc
void test_matmuls();    // cases_linear.cc
void test_matvecs();    // cases_linear.cc
void test_attention();  // cases_attention.cc
void test_latent();     // cases_latent.cc
void test_select();     // cases_select.cc

}  // namespace t5g::gpu::test
