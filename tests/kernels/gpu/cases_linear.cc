// Linear layers of every type.
#include "cases.h"

namespace t5g::gpu::test {
namespace {

struct Exact {
  double sum, size;  // size: of the sum of absolute values, which rounding errors are relative to
};
Exact product(const float* a, const float* b, size_t n) {
  Exact exact{0, 0};
  for (size_t i = 0; i < n; ++i) {
    exact.sum += double{a[i]} * b[i];
    exact.size += std::abs(double{a[i]} * b[i]);
  }
  return exact;
}

// Three projections, one with a bias, one that adds, and rows that are the same bits one by one.
void test_plain(DataType type, uint32_t m, uint32_t k) {
  const uint32_t n[] = {33, 1, 70};
  const std::string what =
      std::string("linear ") + std::string(t5g::info(type).name) + " " + std::to_string(m) + " x " + std::to_string(k);
  Random random(m + k);
  const Memory<float> x(random.floats(size_t{m} * k)), bias(random.floats(33));
  const PackedWeight weights[] = {{type, n[0], k, 1}, {type, n[1], k, 2}, {type, n[2], k, 3}};
  const Values before = random.floats(size_t{m} * n[2]);
  const Memory<float> out[] = {Memory<float>(size_t{m} * n[0]), Memory<float>(size_t{m} * n[1]), Memory<float>(before)};
  LinearArgs args{x.data(), m, k, 3, 0, {}};
  args.projections[0] = {weights[0].weight(), bias.data(), out[0].data(), kHasBias, 0};
  args.projections[1] = {weights[1].weight(), nullptr, out[1].data(), 0, 2};
  args.projections[2] = {weights[2].weight(), nullptr, out[2].data(), kAddsOut, 3};
  launch(for_type(KernelId::linear_F32, type), {6, divide_up(m, kLinearRows)}, args);
  for (size_t p = 0; p < 3; ++p) {
    for (size_t i = 0; i < m; ++i) {
      for (size_t j = 0; j < n[p]; ++j) {
        Exact exact = product(x.data() + i * k, weights[p].row(j), k);
        if (p == 0) exact.sum += bias[j];
        if (p == 2) exact.sum += before[i * n[p] + j];
        const double error = std::abs(out[p][i * n[p] + j] - exact.sum);
        check(error <= 1e-6 * (exact.size + 1), what, error);
      }
    }
  }
  const Memory<float> alone(size_t{n[0]});
  LinearArgs last{x.data() + size_t{m - 1} * k, 1, k, 1, 0, {}};
  last.projections[0] = {weights[0].weight(), bias.data(), alone.data(), kHasBias, 0};
  launch(for_type(KernelId::linear_F32, type), {2, 1}, last);
  for (size_t j = 0; j < n[0]; ++j) check(alone[j] == out[0][size_t{m - 1} * n[0] + j], what + ": other bits alone");
}

}  // namespace

void test_linear() {
  for (const DataType type : all_types()) {
    for (const auto& [m, k] : {std::pair{1u, 32u}, {33u, 96u}, {5u, 640u}}) test_plain(type, m, k);
    if (!is_quantized(type)) test_plain(type, 2, 75);
  }
}

}  // namespace t5g::gpu::test
