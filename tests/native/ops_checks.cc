// Linear layers of the CPU backend with what the kernels' own tests do not see: rows that are no whole number of
// blocks, held as Q8_0; several projections of one input; biases; the feed-forward layers; threads. And that the search
// of a large output head allocates nothing.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "allocations.h"
#include "base/half.h"
#include "base/thread_pool.h"
#include "checks.h"
#include "ops/ops.h"

namespace {

using t5g::DataType;

std::vector<float> normal(size_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(n);
  for (float& v : values) v = distribution(engine);
  return values;
}

struct Halves {
  Halves(int64_t rows, int64_t cols, bool as_q8_0) : values(normal(static_cast<size_t>(rows * cols), 1)) {
    for (float& v : values) {
      bits.push_back(t5g::float_to_half(v));
      v = t5g::half_to_float(bits.back());
    }
    view = {.type = DataType::kF16,
            .rows = rows,
            .cols = cols,
            .bytes = std::as_bytes(std::span(bits)),
            .as_q8_0 = as_q8_0};
  }
  std::vector<float> values;
  std::vector<uint16_t> bits;
  t5g::WeightView view;
};

// x [m, cols] through both matrices at once.
std::vector<float> both(t5g::Ops& ops, const t5g::Matrix& a, const t5g::Matrix& b, std::vector<float>& x, int64_t first,
                        int64_t m) {
  std::vector<float> out(static_cast<size_t>(m * (a.rows() + b.rows())));
  const t5g::Tensor input{x.data() + first * a.cols(), m, a.cols()};
  ops.linear(input, {{&a, {out.data(), m, a.rows()}}, {&b, {out.data() + m * a.rows(), m, b.rows()}}});
  return out;
}

void check_padded(int64_t rows, int64_t cols) {
  constexpr int64_t kM = 9;
  const Halves plain(rows, cols, false), padded(rows, cols, true);
  std::vector<float> x = normal(static_cast<size_t>(kM * cols), 2);
  std::vector<float> first;
  for (const int n_threads : {1, 3}) {
    t5g::ThreadPool pool(n_threads);
    const std::unique_ptr<t5g::Ops> ops = t5g::make_cpu_ops(pool);
    const auto exact = ops->load(plain.view), rounded = ops->load(padded.view);
    const std::vector<float> y = both(*ops, *exact, *rounded, x, 0, kM);
    if (first.empty()) first = y;
    T5G_CHECK(y == first);
    for (int64_t i = 0; i < kM; ++i) {
      const std::vector<float> alone = both(*ops, *exact, *rounded, x, i, 1);
      double error = 0, size = 0;
      for (int64_t n = 0; n < rows; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < cols; ++k)
          sum += double{x[static_cast<size_t>(i * cols + k)]} * double{plain.values[static_cast<size_t>(n * cols + k)]};
        const float exact_y = y[static_cast<size_t>(i * rows + n)], y_q = y[static_cast<size_t>((kM + i) * rows + n)];
        T5G_CHECK(exact_y == alone[static_cast<size_t>(n)] && y_q == alone[static_cast<size_t>(rows + n)]);
        T5G_CHECK(std::abs(double{exact_y} - sum) < 1e-4);
        error += (double{y_q} - sum) * (double{y_q} - sum);
        size += sum * sum;
      }
      T5G_CHECK(std::sqrt(error / size) < 0.02);  // 0.5 % from the weights, 0.5 % from the activations
      T5G_CHECK(error > 0);                       // it is not the float product
    }
  }
}

// One value per block, which Q8_0 holds exactly: any slip in the padding would show.
void check_exact() {
  constexpr int64_t kRows = 18, kCols = 77;
  Halves w(kRows, kCols, true);
  for (int64_t i = 0; i < kRows * kCols; ++i) {
    const float value = i % kCols % 32 == 12 ? static_cast<float>(127 - i / kCols) : 0.0f;
    w.bits[static_cast<size_t>(i)] = t5g::float_to_half(value);
  }
  t5g::ThreadPool pool(1);
  const std::unique_ptr<t5g::Ops> ops = t5g::make_cpu_ops(pool);
  const auto matrix = ops->load(w.view);
  std::vector<float> x(kCols, 127.0f), y(kRows);
  ops->linear({x.data(), 1, kCols}, {{matrix.get(), {y.data(), 1, kRows}}});
  for (int64_t n = 0; n < kRows; ++n) {
    const float expected = 3 * 127.0f * static_cast<float>(127 - n);
    T5G_CHECK(std::abs(y[static_cast<size_t>(n)] - expected) <= 0.001f * expected);  // 1/2048 in the scale's f16
  }
}

float gelu_tanh(float x) {
  const double wide = x, inner = std::sqrt(2 / 3.14159265358979323846) * (wide + 0.044715 * wide * wide * wide);
  return static_cast<float>(0.5 * wide * (1 + std::tanh(inner)));
}

bool close(const std::vector<float>& a, const std::vector<float>& b, double tolerance) {
  double error = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
    size += double{b[i]} * double{b[i]};
  }
  return a.size() == b.size() && std::sqrt(error / size) < tolerance;
}

// Biases and results that are added to what is there: the same as by hand.
void check_bias(t5g::Ops& ops, const t5g::Matrix& w) {
  constexpr int64_t kM = 60;
  const auto n = static_cast<size_t>(w.rows());
  std::vector<float> x = normal(static_cast<size_t>(kM * w.cols()), 3), plain(kM * n), biased(kM * n);
  const std::vector<float> bias = normal(n, 4);
  std::vector<float> added = normal(kM * n, 5), by_hand = added;
  const t5g::Tensor input{x.data(), kM, w.cols()};
  ops.linear(input, {{&w, {plain.data(), kM, w.rows()}}});
  ops.linear(input,
             {{&w, {biased.data(), kM, w.rows()}, bias.data()}, {&w, {added.data(), kM, w.rows()}, nullptr, true}});
  for (size_t i = 0; i < by_hand.size(); ++i) {
    T5G_CHECK(biased[i] == plain[i] + bias[i % n]);
    T5G_CHECK(added[i] == by_hand[i] + plain[i]);
  }
}

// The feed-forward layers of many rows: those of each row alone to the bit, and what their parts give.
void check_mlps(t5g::Ops& ops, const t5g::Matrix& wide, const t5g::Matrix& gate, const t5g::Matrix& narrow) {
  constexpr int64_t kM = 45;
  const int64_t e = wide.cols(), f = wide.rows();
  std::vector<float> x = normal(static_cast<size_t>(kM * e), 6), bias = normal(static_cast<size_t>(f), 7);
  std::vector<float> a(static_cast<size_t>(kM * f)), b(a.size()), geglu(x.size()), gelu(x.size());
  const auto rows = [](std::vector<float>& values, int64_t first, int64_t m) {
    const auto cols = static_cast<int64_t>(values.size()) / kM;
    return t5g::Tensor{values.data() + first * cols, m, cols};
  };
  ops.geglu_mlp(rows(x, 0, kM), {&gate, rows(a, 0, kM)}, {&wide, rows(b, 0, kM)}, {&narrow, rows(geglu, 0, kM)});
  ops.gelu_mlp(rows(x, 0, kM), {&wide, rows(a, 0, kM), bias.data()}, {&narrow, rows(gelu, 0, kM)});
  std::vector<float> alone(x.size());
  for (int64_t i = 0; i < kM; ++i)
    ops.geglu_mlp(rows(x, i, 1), {&gate, rows(a, 0, 1)}, {&wide, rows(b, 0, 1)}, {&narrow, rows(alone, i, 1)});
  T5G_CHECK(alone == geglu);
  for (int64_t i = 0; i < kM; ++i)
    ops.gelu_mlp(rows(x, i, 1), {&wide, rows(a, 0, 1), bias.data()}, {&narrow, rows(alone, i, 1)});
  T5G_CHECK(alone == gelu);

  ops.linear(rows(x, 0, kM), {{&gate, rows(a, 0, kM)}, {&wide, rows(b, 0, kM)}});
  std::vector<float> gated(a.size()), bent(a.size()), expected(x.size());
  for (size_t i = 0; i < a.size(); ++i) {
    gated[i] = gelu_tanh(a[i]) * b[i];
    bent[i] = gelu_tanh(b[i] + bias[i % static_cast<size_t>(f)]);
  }
  ops.linear(rows(gated, 0, kM), {{&narrow, rows(expected, 0, kM)}});
  T5G_CHECK(close(geglu, expected, 1e-3));  // some activations are rounded to 8 bits the other way
  ops.linear(rows(bent, 0, kM), {{&narrow, rows(expected, 0, kM)}});
  T5G_CHECK(close(gelu, expected, 1e-3));
}

void check_fused(int64_t e, int64_t f) {
  for (const bool as_q8_0 : {false, true}) {
    const Halves wide(f, e, as_q8_0), gate(f, e, as_q8_0), narrow(e, f, as_q8_0);
    for (const int n_threads : {1, 3}) {
      t5g::ThreadPool pool(n_threads);
      const std::unique_ptr<t5g::Ops> ops = t5g::make_cpu_ops(pool);
      const auto w = ops->load(wide.view), g = ops->load(gate.view), n = ops->load(narrow.view);
      check_bias(*ops, *w);
      check_mlps(*ops, *w, *g, *n);
    }
  }
}

// The search of a large output head: its scratch is kept too, whatever it learns from call to call.
void check_search_allocates_nothing() {
  constexpr int64_t kVocabulary = 40'000, kCols = 128, kRows = 3;
  std::mt19937 engine(8);
  std::vector<std::byte> bytes(static_cast<size_t>(kVocabulary) * t5g::row_bytes(DataType::kQ8_0, kCols));
  for (std::byte& b : bytes) b = static_cast<std::byte>(engine() >> 24);
  for (size_t block = 0; block < bytes.size(); block += 34) bytes[block + 1] = std::byte{0x2c};  // scales near 0.06
  t5g::ThreadPool pool(2);
  const std::unique_ptr<t5g::Ops> ops = t5g::make_cpu_ops(pool);
  const auto head =
      ops->load_head({.type = DataType::kQ8_0, .rows = kVocabulary, .cols = kCols, .bytes = std::span(bytes)});
  std::vector<float> x = normal(static_cast<size_t>(kRows * kCols), 9);
  const std::vector<int32_t> apart = {1, 5, 39'999};
  std::vector<float> apart_logits(apart.size());
  std::vector<t5g::BestQuery> queries(kRows);
  for (t5g::BestQuery& query : queries) query = {.apart = apart, .apart_logits = apart_logits.data()};
  int n_found = 0;
  check_allocates_nothing(10, 50, [&] {
    for (int64_t n = 1; n <= kRows; ++n) {
      const std::span<t5g::BestQuery> some = std::span(queries).first(static_cast<size_t>(n));
      n_found += ops->best_of_head({x.data(), n, kCols}, *head, 0.0f, some) ? 1 : 0;
    }
  });
  T5G_CHECK(n_found > 0);
}

}  // namespace

int main() {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {16, 31}, {40, 33}, {70, 588}, {130, 64}})
    check_padded(rows, cols);
  check_exact();
  for (const auto& [e, f] : {std::pair<int64_t, int64_t>{32, 64}, {40, 150}, {70, 200}, {33, 17}}) check_fused(e, f);
  check_search_allocates_nothing();
  std::puts(
      "linear layers: padded rows, several projections, biases, feed-forward layers, threads; the head's search.");
}
