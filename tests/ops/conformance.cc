// Runs the conformance list on every device that is built, against the portable CPU, and each row twice: the same
// device gives the same bits.
//
//   conformance [DEVICE ...]      default: all that there are
#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "cases.h"
#include "ops/cpu/cpu_ops.h"

namespace t5g::test {

RandomWeight::RandomWeight(DataType type, int64_t rows, int64_t cols, uint32_t seed)
    : bytes_(static_cast<size_t>(rows) * row_bytes(type, cols)) {
  std::mt19937 engine(seed);
  if (!is_quantized(type)) {
    const size_t size = row_bytes(type, cols) / static_cast<size_t>(cols);
    const Values values = normal(static_cast<size_t>(rows * cols), seed);
    for (size_t i = 0; i < values.size(); ++i) {
      uint32_t bits = 0;
      std::memcpy(&bits, &values[i], sizeof bits);
      if (type == DataType::kF16) bits = float_to_half(values[i]);
      if (type == DataType::kBF16) bits >>= 16;
      std::memcpy(bytes_.data() + i * size, &bits, size);
    }
  } else {
    // Any bits are a block; scales and minima, its first two halves, are made small and positive.
    for (std::byte& b : bytes_) b = static_cast<std::byte>(engine() >> 24);
    const size_t block = row_bytes(type, 32);
    const bool has_min = type == DataType::kQ4_1 || type == DataType::kQ5_1;
    for (size_t at = 0; at < bytes_.size(); at += block) {
      for (size_t half = 0; half < (has_min ? 2u : 1u); ++half) bytes_[at + 2 * half + 1] = std::byte{0x24};  // 0.016
    }
  }
  view_ = {.type = type, .rows = rows, .cols = cols, .bytes = bytes_};
}

namespace {

// Of the largest value.
double difference(const Values& a, const Values& b) {
  if (a.size() != b.size() || b.empty()) return HUGE_VAL;
  double largest = 0, most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return HUGE_VAL;
    largest = std::max(largest, std::abs(double{b[i]}));
    most = std::max(most, std::abs(double{a[i]} - double{b[i]}));
  }
  return largest > 0 ? most / largest : most;
}

Backend portable() {
  auto device = std::make_unique<CpuDevice>(1);
  auto ops = std::make_unique<CpuOps>(*device, kernels::level("generic"));
  return {std::move(device), std::move(ops)};
}

Values run(const Case& row, const Backend& backend) {
  const Device::Lease lease(*backend.device);
  return row.run(backend);
}

// The number of rows that do not hold.
int check(const std::string& name, const std::vector<Case>& cases) {
  const Backend reference = portable(), device = make_backend(name, 3);
  const bool on_host = name == "cpu" || name == "deferred";
  int failed = 0;
  double worst = 0;
  if (device.ops->block_rows() < 32) {
    std::printf("%s: block_rows() is below 32\n", name.c_str());
    ++failed;
  }
  for (const Case& row : cases) {
    const Values expected = run(row, reference), found = run(row, device), again = run(row, device);
    const double error = difference(found, expected);
    worst = std::max(worst, error);
    const double allowed = on_host ? 0 : row.tolerance;
    const bool good = error <= allowed && found == again;
    if (!good) {
      std::printf("%s: %s, %s: differs by %g, allowed %g (%s)%s\n", name.c_str(), row.op, row.name.c_str(), error,
                  allowed, on_host ? "the same bits" : row.reason, found == again ? "" : "; and from run to run");
    }
    failed += good ? 0 : 1;
  }
  std::printf("%s: %zu rows, %d failed, largest difference %g\n", name.c_str(), cases.size(), failed, worst);
  return failed;
}

}  // namespace
}  // namespace t5g::test

int main(int argc, char** argv) {
  using namespace t5g::test;
  std::vector<Case> cases;
  add_row_cases(cases);
  add_weight_cases(cases);
  add_attention_cases(cases);
  add_latent_cases(cases);
  add_select_cases(cases);
  std::vector<std::string> names(argv + 1, argv + argc);
  if (names.empty()) {
    for (const t5g::DeviceState& device : t5g::device_states())
      if (device.is_available) names.push_back(device.name);
  }
  int failed = 0;
  for (const std::string& name : names) failed += check(name, cases);
  return failed == 0 ? 0 : 1;
}
