// Kernels that work row by row or value by value.
#include "cases.h"

namespace t5g::gpu::test {
namespace {

void close(const Memory<float>& found, const std::vector<double>& expected, double tolerance, const std::string& what) {
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::abs(found[i] - expected[i]));
  check(worst <= tolerance, what, worst);
}

std::vector<double> rms_normed(const Values& x, const Values& weight, size_t cols) {
  std::vector<double> out(x.size());
  for (size_t at = 0; at < x.size(); at += cols) {
    double sum = 0;
    for (size_t i = 0; i < cols; ++i) sum += double{x[at + i]} * x[at + i];
    const double inverse = 1 / std::sqrt(sum / static_cast<double>(cols) + 1e-6);
    for (size_t i = 0; i < cols; ++i) out[at + i] = x[at + i] * inverse * weight[i];
  }
  return out;
}

void test_norms(uint32_t rows, uint32_t cols) {
  Random random(rows * 1000 + cols);
  const std::string size = " " + std::to_string(rows) + " x " + std::to_string(cols);
  const Values x = random.floats(rows * cols, 3), other = random.floats(rows * cols), w = random.floats(cols, 2);
  const Memory<float> d_x(x), weight(w), bias(random.floats(cols)), out(size_t{rows} * cols), sum(other);
  const Grid grid{divide_up(rows, kNormRows)};
  const std::vector<double> normed = rms_normed(x, w, cols);
  launch(KernelId::rms_norm, grid, NormArgs{d_x.data(), weight.data(), nullptr, out.data(), rows, cols, 1e-6f, 0});
  close(out, normed, 1e-5, "rms_norm" + size);
  launch(KernelId::add_rms_norm, grid, NormArgs{d_x.data(), weight.data(), nullptr, sum.data(), rows, cols, 1e-6f, 0});
  std::vector<double> expected = normed;
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += other[i];
  close(sum, expected, 1e-5, "add_rms_norm" + size);

  for (size_t at = 0; at < x.size(); at += cols) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < cols; ++i) mean += double{x[at + i]} / cols;
    for (size_t i = 0; i < cols; ++i) squares += (x[at + i] - mean) * (x[at + i] - mean) / cols;
    for (size_t i = 0; i < cols; ++i)
      expected[at + i] = (x[at + i] - mean) / std::sqrt(squares + 1e-6) * w[i] + bias[i];
  }
  // In place.
  launch(KernelId::layer_norm, grid,
         NormArgs{d_x.data(), weight.data(), bias.data(), d_x.data(), rows, cols, 1e-6f, 0});
  close(d_x, expected, cols == 1 ? 1e-6 : 2e-5, "layer_norm" + size);
}

void test_tables(DataType type, uint32_t cols) {
  const PackedWeight table(type, 9, cols, cols);
  const std::string name = std::string(t5g::info(type).name) + " " + std::to_string(cols);
  Random random(3);
  const Memory<int32_t> ids(std::vector<int32_t>{8, 0, 5, 3});
  const Memory<float> special(random.floats(cols)), out(size_t{4} * cols);
  TableArgs args{table.weight(), ids.data(), special.data(), out.data(), 2.5f, 5, 0, 0};
  launch(for_type(KernelId::embed_F32, type), {4}, args);
  for (size_t i = 0; i < 4; ++i) {
    const float* row = table.row(static_cast<size_t>(ids[i]));
    for (size_t j = 0; j < cols; ++j) {
      const float expected = ids[i] == 5 ? special[j] : row[j] * 2.5f;
      check(out[i * cols + j] == expected, "embed " + name, out[i * cols + j] - expected);
    }
  }
  const Values before = out.values();
  args.first = 6;
  launch(for_type(KernelId::add_rows_F32, type), {3}, args);
  for (size_t i = 0; i < 4 * cols; ++i) {
    const float expected = i < 3 * cols ? before[i] + table.row(6)[i] : before[i];
    check(out[i] == expected, "add_rows " + name, out[i] - expected);
  }
}

void test_moves() {
  Random random(4);
  const uint32_t cols = 133;
  const Memory<float> x(random.floats(5 * cols)), out(size_t{3} * cols), back(size_t{5} * cols);
  const Memory<int32_t> places(std::vector<int32_t>{4, 0, 2});
  launch(KernelId::gather_rows, {3}, MoveArgs{x.data(), places.data(), out.data(), cols, 0});
  launch(KernelId::scatter_rows, {3}, MoveArgs{out.data(), places.data(), back.data(), cols, 0});
  for (size_t i = 0; i < 3 * cols; ++i) {
    const auto at = static_cast<size_t>(places[i / cols]) * cols + i % cols;
    check(out[i] == x[at] && back[at] == x[at], "gather_rows, scatter_rows");
  }
  for (size_t i = cols; i < 2 * cols; ++i) check(back[i] == 0, "scatter_rows: another row");
  const Memory<uint8_t> from(std::vector<uint8_t>(16 * 200, 7)), to(16 * 200);
  launch(KernelId::copy_page, {2}, CopyArgs{from.data(), to.data(), from.size()});
  check(to.values() == from.values(), "copy_page");
}

void test_rope(uint32_t heads, uint32_t head_dim, int32_t position) {
  Random random(5);
  const uint32_t rows = 3;
  Values inv_freq;
  for (uint32_t i = 0; i < head_dim / 2; ++i)
    inv_freq.push_back(1 / std::pow(1e4f, static_cast<float>(2 * i) / static_cast<float>(head_dim)));
  const Values x = random.floats(size_t{rows} * heads * head_dim);
  const Memory<float> d_x(x), frequencies(inv_freq);
  const Memory<int32_t> positions(std::vector<int32_t>{0, position, position / 3});
  launch(KernelId::rope, {rows}, RopeArgs{d_x.data(), positions.data(), frequencies.data(), heads, head_dim});
  std::vector<double> expected(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t d = i % head_dim, pair = d % (head_dim / 2);
    // The angle is what f32 makes of it: the reference's is.
    const float angle = static_cast<float>(positions[i / (size_t{heads} * head_dim)]) * inv_freq[pair];
    const double c = std::cos(double{angle}), s = std::sin(double{angle});
    expected[i] = d == pair ? x[i] * c - x[i + head_dim / 2] * s : x[i] * c + x[i - head_dim / 2] * s;
  }
  close(d_x, expected, 3e-7, "rope at " + std::to_string(position));
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

void test_elements(uint32_t rows, uint32_t cols) {
  Random random(6);
  const size_t size = size_t{rows} * cols;
  const Values a = random.floats(size, 6), b = random.floats(size, 2);
  const Grid grid{divide_up(size, kElementsPerGroup)};
  const Memory<float> gated(a), biased(a), capped(a), up(b);
  launch(KernelId::geglu, grid, ElementArgs{gated.data(), up.data(), size, cols, 0});
  launch(KernelId::bias_gelu, grid, ElementArgs{biased.data(), up.data(), size, cols, 0});
  launch(KernelId::softcap, grid, ElementArgs{capped.data(), nullptr, size, cols, 2.5f});
  std::vector<double> products(size), biases(size), caps(size);
  for (size_t i = 0; i < size; ++i) {
    products[i] = gelu(a[i]) * b[i];
    biases[i] = gelu(a[i] + b[i % cols]);
    caps[i] = 2.5 * std::tanh(a[i] / 2.5);
  }
  close(gated, products, 2e-6, "geglu");
  close(biased, biases, 2e-6, "bias_gelu");
  close(capped, caps, 1e-6, "softcap");
}

void test_images() {
  Random random(7);
  const uint32_t size = 24, patch = 6;
  std::vector<uint8_t> pixels(size * size * 3);
  for (uint8_t& p : pixels) p = static_cast<uint8_t>(random.below(256));
  const Memory<uint8_t> d_pixels(pixels);
  const Memory<float> out(size_t{10} * 3 * patch * patch);
  launch(KernelId::patches, {10},
         PatchArgs{d_pixels.data(), out.data(), size, patch, 3, 0, {0.5f, 0.4f, 0.3f}, {0.5f, 0.25f, 0.2f}});
  const double mean[] = {0.5, 0.4, 0.3}, std[] = {0.5, 0.25, 0.2};
  std::vector<double> expected;
  for (uint32_t p = 3; p < 13; ++p) {
    for (uint32_t c = 0; c < 3; ++c) {
      for (uint32_t i = 0; i < patch * patch; ++i) {
        const uint32_t y = p / 4 * patch + i / patch, x = p % 4 * patch + i % patch;
        expected.push_back((pixels[(y * size + x) * 3 + c] / 255.0 - mean[c]) / std[c]);
      }
    }
  }
  close(out, expected, 1e-6, "patches");

  const uint32_t side = 6, window = 3, cols = 130;
  const Values x = random.floats(side * side * cols);
  const Memory<float> d_x(x), pooled(size_t{4} * cols);
  launch(KernelId::mean_pool, {4}, PoolArgs{d_x.data(), pooled.data(), side, window, cols, 0});
  std::vector<double> means(pooled.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t row = i / cols, to = row / side / window * (side / window) + row % side / window;
    means[to * cols + i % cols] += x[i] / double{window * window};
  }
  close(pooled, means, 1e-6, "mean_pool");
}

}  // namespace

void test_rows() {
  for (const auto& [rows, cols] : {std::pair{1u, 1u}, {5u, 33u}, {4u, 640u}, {1u, 1152u}}) test_norms(rows, cols);
  for (const DataType type : all_types()) {
    for (const uint32_t cols : {32u, 2080u}) test_tables(type, cols);
    if (!is_quantized(type)) test_tables(type, 588);
  }
  test_moves();
  test_rope(2, 6, 1000);
  test_rope(1, 256, 131071);
  test_elements(3, 700);
  test_images();

  const Memory<uint32_t> out(128);
  for (const bool metal : {false, true}) {
    emulator::use_metal_fragments(metal);
    launch(KernelId::probe, {}, ProbeArgs{out.data()});
    for (const uint32_t found : out.values()) check(found != 0xFFFFFFFFu, "probe");
  }
}

}  // namespace t5g::gpu::test
