// The conformance list: one row for each thing that an op must do, and the tolerance that a device may take, with its
// reason. Every row runs on every built device and on the CPU's portable kernels, and both must agree.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ops/backends.h"
#include "quant/types.h"

namespace t5g::test {

using Values = std::vector<float>;

struct Case {
  const char* op;    // as in ops.h
  std::string name;  // what is special about it
  // Largest difference, relative to the largest value, between a device and the portable CPU. Devices that compute on
  // the host have none: their kernels promise the same bits.
  double tolerance;
  const char* reason;
  std::function<Values(const Backend& backend)> run;
};

// Sums in another order, or another exp().
inline constexpr double kOrder = 1e-5;
// Activations that are rounded to 8 bits (or bfloat16) by the portable CPU, and perhaps by the device in another way;
// and those of the two layers of a feed-forward.
inline constexpr double kRounded = 1e-2;
inline constexpr double kRoundedTwice = 3e-2;

inline Values normal(size_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  Values values(n);
  // Not std::normal_distribution, which each library makes otherwise.
  for (float& v : values) {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(engine()) / 4294967296.0 - 0.5;
    v = static_cast<float>(sum * 1.7);
  }
  return values;
}

// A weight of random blocks that hold finite numbers. Keeps the bytes.
class RandomWeight {
 public:
  RandomWeight(DataType type, int64_t rows, int64_t cols, uint32_t seed);
  const WeightView& view() const { return view_; }

 private:
  std::vector<std::byte> bytes_;
  WeightView view_;
};

void add_row_cases(std::vector<Case>& cases);        // cases_rows.cc
void add_weight_cases(std::vector<Case>& cases);     // cases_weights.cc
void add_attention_cases(std::vector<Case>& cases);  // cases_attention.cc
void add_latent_cases(std::vector<Case>& cases);     // cases_latent.cc
void add_select_cases(std::vector<Case>& cases);     // cases_select.cc

}  // namespace t5g::test
