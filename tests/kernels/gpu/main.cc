// Every GPU kernel, emulated, against plain C++ in double precision; with fragments laid out as on CUDA and as on
// Metal.
#include <cstdio>
#include <cstring>
#include <exception>
#include <set>

#include "base/half.h"
#include "cases.h"

namespace t5g::gpu::test {
namespace {

int failed = 0;
std::set<KernelId> launched;

}  // namespace

void check(bool holds, const std::string& what, double error) {
  if (holds) return;
  if (++failed <= 20) std::printf("FAILED %s, error %g\n", what.c_str(), error);
}
int failures() { return failed; }

void launch(KernelId kernel, Grid grid, const void* args, size_t args_bytes) {
  static uint32_t n = 0;
  launched.insert(kernel);
  check(args_bytes == info(kernel).args_bytes, std::string(info(kernel).name) + ": other arguments");
  emulator::launch(emulated(kernel), grid, args, {.order = static_cast<emulator::Order>(n % 3), .seed = n});
  ++n;
}

std::vector<std::string> not_launched() {
  std::vector<std::string> names;
  for (size_t i = 0; i < kNumKernels; ++i) {
    if (!launched.contains(static_cast<KernelId>(i))) names.emplace_back(kKernels[i].name);
  }
  return names;
}

namespace {

// The file's bytes of random values.
std::vector<std::byte> random_rows(DataType type, int64_t rows, int64_t cols, uint32_t seed) {
  Random random(seed);
  std::vector<std::byte> bytes(static_cast<size_t>(rows) * row_bytes(type, cols));
  if (is_quantized(type)) {
    // Any bits are a block; scales and minima, its first two halves, are made small.
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.below(256));
    const bool has_minimum = type == DataType::kQ4_1 || type == DataType::kQ5_1;
    for (size_t at = 0; at < bytes.size(); at += row_bytes(type, kBlock)) {
      for (size_t half = 0; half < (has_minimum ? 2u : 1u); ++half) {
        const uint16_t scale = float_to_half(random.uniform(-0.02f, 0.02f));
        std::memcpy(bytes.data() + at + 2 * half, &scale, 2);
      }
    }
    return bytes;
  }
  const size_t size = row_bytes(type, 1);
  for (size_t at = 0; at < bytes.size(); at += size) {
    const float value = random.uniform(-1, 1);
    uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    if (type == DataType::kF16) bits = float_to_half(value);
    if (type == DataType::kBF16) bits >>= 16;
    std::memcpy(bytes.data() + at, &bits, size);
  }
  return bytes;
}

}  // namespace

PackedWeight::PackedWeight(DataType type, int64_t rows, int64_t cols, uint32_t seed)
    : layout_(weight_layout(type, rows, cols)),
      dense_(static_cast<size_t>(rows * cols)),
      memory_(layout_.total_bytes, std::byte{0xFF}) {
  const std::vector<std::byte> bytes = random_rows(type, rows, cols, seed);
  for (int64_t i = 0; i < rows; ++i) {
    const std::byte* from = bytes.data() + static_cast<size_t>(i) * row_bytes(type, cols);
    const auto n = static_cast<size_t>(i);
    dequantize_row(type, from, cols, dense_.data() + i * cols);
    pack_weight(layout_, type, from, 1, memory_.data() + n * layout_.values_row_bytes,
                memory_.data() + layout_.scales_offset + n * layout_.scales_row_bytes,
                memory_.data() + layout_.high_offset + n * layout_.high_row_bytes);
  }
}

}  // namespace t5g::gpu::test

int main() {
  using namespace t5g::gpu::test;
  try {
    test_emulator();
    test_rows();
    test_select();
    test_matvecs();
    test_matmuls();
    test_attention();
    test_latent();
  } catch (const std::exception& error) {
    check(false, error.what());
  }
  for (const std::string& name : not_launched()) check(false, name + ": no test launches it");
  const t5g::emulator::Statistics s = t5g::emulator::statistics();
  std::printf("%d failures, %llu launches, %llu groups, %.2f M switches, %.2f M lane collectives\n", failures(),
              static_cast<unsigned long long>(s.launches), static_cast<unsigned long long>(s.groups),
              static_cast<double>(s.switches) / 1e6, static_cast<double>(s.collectives) / 1e6);
  return failures() == 0 ? 0 : 1;
}
