// Linear layers of the CPU backend with what the kernels' own tests do not see: rows that are no whole number of
// blocks, held as Q8_0; several projections of one input; biases; the feed-forward layers; threads. And that the search
// of a large output head allocates nothing, and which sequences have coarse scores.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "allocations.h"
#include "base/half.h"
#include "checks.h"
#include "device_rows.h"
#include "ops/backends.h"

namespace {

using t5g::DataType;
using t5g::test::DeviceRows;

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

// Rows [first, first + m) of x through both matrices at once.
std::vector<float> both(t5g::Backend& backend, const t5g::Matrix& a, const t5g::Matrix& b, const std::vector<float>& x,
                        int64_t first, int64_t m) {
  const t5g::Device::Lease lease(*backend.device);
  const DeviceRows input(*backend.device, x, a.cols());
  const DeviceRows left(*backend.device, m, a.rows()), right(*backend.device, m, b.rows());
  backend.ops->linear(input.rows(first, m), {{&a, left}, {&b, right}});
  std::vector<float> out = left.values(), more = right.values();
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

void check_padded(int64_t rows, int64_t cols) {
  constexpr int64_t kM = 9;
  const Halves plain(rows, cols, false), padded(rows, cols, true);
  std::vector<float> x = normal(static_cast<size_t>(kM * cols), 2);
  std::vector<float> first;
  for (const int n_threads : {1, 3}) {
    t5g::Backend backend = t5g::make_backend("cpu", n_threads);
    const auto exact = backend.ops->load(plain.view), rounded = backend.ops->load(padded.view);
    const std::vector<float> y = both(backend, *exact, *rounded, x, 0, kM);
    if (first.empty()) first = y;
    T5G_CHECK(y == first);
    for (int64_t i = 0; i < kM; ++i) {
      const std::vector<float> alone = both(backend, *exact, *rounded, x, i, 1);
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
  const t5g::Backend backend = t5g::make_backend("cpu", 1);
  const auto matrix = backend.ops->load(w.view);
  const t5g::Device::Lease lease(*backend.device);
  const DeviceRows x(*backend.device, std::vector<float>(kCols, 127.0f), kCols), out(*backend.device, 1, kRows);
  backend.ops->linear(x, {{matrix.get(), out}});
  const std::vector<float> y = out.values();
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
void check_bias(const t5g::Backend& backend, const t5g::Matrix& w) {
  constexpr int64_t kM = 60;
  t5g::Device& device = *backend.device;
  const auto n = static_cast<size_t>(w.rows());
  const std::vector<float> bias = normal(n, 4), before = normal(kM * n, 5);
  const DeviceRows x(device, normal(static_cast<size_t>(kM * w.cols()), 3), w.cols()), b(device, bias, w.rows());
  const DeviceRows plain(device, kM, w.rows()), biased(device, kM, w.rows()), added(device, before, w.rows());
  backend.ops->linear(x, {{&w, plain}});
  backend.ops->linear(x, {{&w, biased, b}, {&w, added, {}, true}});
  const std::vector<float> y = plain.values(), y_biased = biased.values(), y_added = added.values();
  for (size_t i = 0; i < y.size(); ++i) {
    T5G_CHECK(y_biased[i] == y[i] + bias[i % n]);
    T5G_CHECK(y_added[i] == before[i] + y[i]);
  }
}

// The feed-forward layers of many rows: those of each row alone to the bit, and what their parts give.
void check_mlps(const t5g::Backend& backend, const t5g::Matrix& wide, const t5g::Matrix& gate,
                const t5g::Matrix& narrow) {
  constexpr int64_t kM = 45;
  t5g::Device& device = *backend.device;
  t5g::Ops& ops = *backend.ops;
  const int64_t e = wide.cols(), f = wide.rows();
  const std::vector<float> bias_values = normal(static_cast<size_t>(f), 7);
  const DeviceRows x(device, normal(static_cast<size_t>(kM * e), 6), e), bias(device, bias_values, f);
  const DeviceRows a(device, kM, f), b(device, kM, f), out(device, kM, e), alone(device, kM, e);
  const auto one = [](const DeviceRows& rows, int64_t i) { return rows.rows(i, 1); };
  ops.geglu_mlp(x, {&gate, a}, {&wide, b}, {&narrow, out});
  const std::vector<float> geglu = out.values();
  ops.gelu_mlp(x, {&wide, a, bias}, {&narrow, out});
  const std::vector<float> gelu = out.values();
  for (int64_t i = 0; i < kM; ++i)
    ops.geglu_mlp(one(x, i), {&gate, one(a, 0)}, {&wide, one(b, 0)}, {&narrow, one(alone, i)});
  T5G_CHECK(alone.values() == geglu);
  for (int64_t i = 0; i < kM; ++i) ops.gelu_mlp(one(x, i), {&wide, one(a, 0), bias}, {&narrow, one(alone, i)});
  T5G_CHECK(alone.values() == gelu);

  ops.linear(x, {{&gate, a}, {&wide, b}});
  const std::vector<float> g = a.values(), u = b.values();
  std::vector<float> gated(g.size()), activated(g.size());
  for (size_t i = 0; i < g.size(); ++i) {
    gated[i] = gelu_tanh(g[i]) * u[i];
    activated[i] = gelu_tanh(u[i] + bias_values[i % static_cast<size_t>(f)]);
  }
  ops.linear(DeviceRows(device, gated, f), {{&narrow, out}});
  T5G_CHECK(close(geglu, out.values(), 1e-3));  // some activations are rounded to 8 bits the other way
  ops.linear(DeviceRows(device, activated, f), {{&narrow, out}});
  T5G_CHECK(close(gelu, out.values(), 1e-3));
}

void check_fused(int64_t e, int64_t f) {
  for (const bool as_q8_0 : {false, true}) {
    const Halves wide(f, e, as_q8_0), gate(f, e, as_q8_0), narrow(e, f, as_q8_0);
    for (const int n_threads : {1, 3}) {
      const t5g::Backend backend = t5g::make_backend("cpu", n_threads);
      const auto w = backend.ops->load(wide.view), g = backend.ops->load(gate.view), n = backend.ops->load(narrow.view);
      const t5g::Device::Lease lease(*backend.device);
      check_bias(backend, *w);
      check_mlps(backend, *w, *g, *n);
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
  const t5g::Backend backend = t5g::make_backend("cpu", 2);
  const auto head =
      backend.ops->load_head({.type = DataType::kQ8_0, .rows = kVocabulary, .cols = kCols, .bytes = std::span(bytes)});
  const t5g::Device::Lease lease(*backend.device);
  const DeviceRows x(*backend.device, normal(static_cast<size_t>(kRows * kCols), 9), kCols);
  std::vector<t5g::Selection> selections(kRows);
  std::vector<t5g::Selection*> pointers;
  for (t5g::Selection& selection : selections) {
    selection.ids = {1, 5, 39'999};
    selection.n_best = 1;
    selection.log_sum_exp = t5g::LogSumExp::kIfComputed;  // which a search does not
    pointers.push_back(&selection);
  }
  int n_found = 0;
  check_allocates_nothing(10, 50, [&] {
    for (int64_t n = 1; n <= kRows; ++n) {
      backend.ops->select(x.rows(0, n), *head, 0.0f, std::span(pointers).first(static_cast<size_t>(n)));
      n_found += selections[0].found_log_sum_exp.has_value() ? 0 : 1;
    }
  });
  T5G_CHECK(n_found > 0);
}

// Attention of two rows to n keys in bfloat16, which are stored as they will be looked at.
std::vector<float> attended(const t5g::Backend& backend, int64_t n, t5g::Scores scores) {
  constexpr int kHeadDim = 64;
  const t5g::KvFormat format{DataType::kBF16, 1, kHeadDim};
  const auto pool = backend.ops->make_kv_pool(format, 1);
  const t5g::KvRun run(pool, t5g::kv_chunks(n));
  const int32_t first = run.first();
  t5g::Batch batch;
  batch.clear(*pool);
  batch.add_rows(n, 0, {.pages = {&first, 1}, .length = n, .is_run = true});
  const t5g::Device::Lease lease(*backend.device);
  backend.ops->upload(batch);
  const auto rows = [&](int64_t count, uint32_t seed) {
    return DeviceRows(*backend.device, normal(static_cast<size_t>(count * kHeadDim), seed), kHeadDim);
  };
  const DeviceRows k = rows(n, 1), v = rows(n, 2), q = rows(2, 3), out(*backend.device, 2, kHeadDim);
  backend.ops->store_kv(k, v, batch.all(), 0, scores);
  const t5g::AttentionSpec spec{.n_heads = 1,
                                .kv = format,
                                .scale = 0.125f,
                                .softcap = 0,
                                .segments = t5g::Segments::kSelf,
                                .window = {},
                                .scores = scores};
  backend.ops->attention(q, spec, batch.rows(0, 2), 0, out);
  return out.values();
}

// Coarse scores are others, and close, from the first key on that makes a sequence one of many.
void check_coarse_scores() {
  using t5g::Scores, t5g::kManyKeys;
  const t5g::Backend backend = t5g::make_backend("cpu", 2);
  const auto of = [&](int64_t n, Scores scores) { return attended(backend, n, scores); };
  T5G_CHECK(of(kManyKeys, Scores::kCoarseOfMany) == of(kManyKeys, Scores::kOfKeys));
  const std::vector<float> fine = of(kManyKeys + 1, Scores::kOfKeys), coarse = of(kManyKeys + 1, Scores::kCoarseOfMany);
  T5G_CHECK(coarse != fine);
  T5G_CHECK(close(coarse, fine, 0.02));  // a score's error is 0.5 % of a few, and those of 4,097 keys average out
}

}  // namespace

int main() {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {16, 31}, {40, 33}, {70, 588}, {130, 64}})
    check_padded(rows, cols);
  check_exact();
  for (const auto& [e, f] : {std::pair<int64_t, int64_t>{32, 64}, {40, 150}, {70, 200}, {33, 17}}) check_fused(e, f);
  check_search_allocates_nothing();
  check_coarse_scores();
  std::puts(
      "linear layers: padded rows, several projections, biases, feed-forward layers, threads; the head's search; "
      "coarse "
      "scores.");
}
