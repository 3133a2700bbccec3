// Rows of floats on a device, for tests: made from a vector, read back as one.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/device.h"

namespace t5g::test {

class DeviceRows {
 public:
  DeviceRows(Device& device, const std::vector<float>& values, int64_t cols)
      : device_(device), floats_(device, static_cast<int64_t>(values.size()) / cols, cols) {
    device_.upload(values, floats_.view());
  }
  // Zeros.
  DeviceRows(Device& device, int64_t rows, int64_t cols)
      : DeviceRows(device, std::vector<float>(static_cast<size_t>(rows * cols)), cols) {}

  operator Tensor() const { return floats_.view(); }
  Tensor rows(int64_t first, int64_t n) const { return floats_.view().slice(first, first + n); }
  std::vector<float> values() const { return values(floats_.view()); }
  std::vector<float> values(Tensor part) const {
    std::vector<float> found(static_cast<size_t>(part.size()));
    device_.download(part, found);
    return found;
  }

 private:
  Device& device_;
  Floats floats_;
};

}  // namespace t5g::test
