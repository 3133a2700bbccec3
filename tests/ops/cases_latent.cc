// Latent sources: rows and weights of every type, both kinds of attention, one or several key/value heads, beside
// sources that have keys.
#include <algorithm>
#include <string>

#include "cases.h"
#include "device_rows.h"
#include "tensor/state_rows.h"

namespace t5g::test {
namespace {

struct Setting {
  std::string name;
  DataType states = DataType::kF32, weights = DataType::kF32;
  int n_heads = 4, n_kv_heads = 2, head_dim = 16;
  int64_t width = 96;
  float softcap = 0;
  Segments segments = Segments::kBoth;
  bool has_scales = true;
  int64_t n_first = 150;  // tokens of the first source

  KvFormat format() const { return {DataType::kF32, n_kv_heads, head_dim}; }
  int64_t kv_width() const { return int64_t{n_kv_heads} * head_dim; }
};

constexpr int kLayers = 2, kLayer = 1;

Values random(int64_t rows, int64_t cols, int64_t seed) {
  return normal(static_cast<size_t>(rows * cols), static_cast<uint32_t>(seed));
}

StateRows states_of(const Setting& s, int64_t n) {
  const Values floats = random(n, s.width, n);
  if (s.states != DataType::kF32) return StateRows::rounded(s.states, s.width, floats);
  auto bytes = std::make_shared<Buffer>(floats.size() * sizeof(float));
  std::copy(floats.begin(), floats.end(), bytes->floats());
  return {s.states, s.width, n, std::move(bytes)};
}

class Source {
 public:
  Source(const Backend& b, const Setting& s, int64_t n)
      : states_(states_of(s, n)),
        latent_(b.ops->load_latent({.type = s.states,
                                    .hidden_size = s.width,
                                    .n_layers = kLayers,
                                    .n_kv_heads = s.has_scales ? s.n_kv_heads : 0},
                                   n, states_.bytes())) {
    if (!s.has_scales) return;
    for (int layer = 0; layer < kLayers; ++layer) {
      const DeviceRows k(*b.device, random(n, s.kv_width(), n + layer + 1), s.kv_width());
      const int64_t half = n / 2;  // in two blocks
      b.ops->scale_latent(*latent_, k.rows(0, half), 0, layer, 1e-6f);
      b.ops->scale_latent(*latent_, k.rows(half, n - half), half, layer, 1e-6f);
      b.device->wait();
    }
  }
  const Latent* latent() const { return latent_.get(); }

 private:
  const StateRows states_;
  const std::unique_ptr<Latent> latent_;
};

void store(const Backend& b, const Setting& s, const Batch& batch, int64_t seed) {
  b.ops->upload(batch);
  const DeviceRows k(*b.device, random(batch.n_rows(), s.kv_width(), seed), s.kv_width());
  const DeviceRows v(*b.device, random(batch.n_rows(), s.kv_width(), seed + 1), s.kv_width());
  b.ops->store_kv(k, v, batch.all(), kLayer);
  b.device->wait();
}

// Two sequences that share a source, one whose source has keys, and one with a source of its own. All rows, and some.
Values attend(const Backend& b, const Setting& s) {
  const RandomWeight k(s.weights, s.kv_width(), s.width, 1), v(s.weights, s.kv_width(), s.width, 2);
  const auto k_proj = b.ops->load(k.view()), v_proj = b.ops->load(v.view());
  const DeviceRows k_norm(*b.device, random(1, s.head_dim, 3), s.head_dim);
  const auto pool = b.ops->make_kv_pool(s.format(), kLayers);
  const Source first(b, s, s.n_first), second(b, s, 64);

  constexpr int64_t kKeys = 40, kRows[] = {2, 1, 3, 2};
  std::vector<KvRun> runs;
  std::vector<int32_t> numbers;
  for (int i = 0; i < 5; ++i) numbers.push_back(runs.emplace_back(pool, 1).first());
  const KvPages keys{.pages = std::span(numbers).subspan(4, 1), .length = kKeys, .is_run = true};
  Batch batch;
  batch.clear(*pool);
  batch.add_rows(kKeys, 0, keys);
  store(b, s, batch, 11);
  batch.clear(*pool);
  for (size_t i = 0; i < 4; ++i) {
    const KvPages own{.pages = std::span(numbers).subspan(i, 1), .length = kRows[i]};
    const Latent* const latent = i == 2 ? nullptr : i == 3 ? second.latent() : first.latent();
    batch.add_rows(kRows[i], 0, own, i == 2 ? keys : KvPages{}, latent);
  }
  store(b, s, batch, 13);

  const int64_t width = int64_t{s.n_heads} * s.head_dim, n = batch.n_rows();
  const DeviceRows q(*b.device, random(n, width, 9), width), out(*b.device, n, width), some(*b.device, 5, width);
  const AttentionSpec spec{
      .n_heads = s.n_heads,
      .kv = s.format(),
      .scale = 0.3f,
      .softcap = s.softcap,
      .segments = s.segments,
      .window = {.after = 0},
      .latent = {.k_proj = k_proj.get(), .v_proj = v_proj.get(), .k_norm = s.has_scales ? Tensor(k_norm) : Tensor{}}};
  b.ops->attention(q, spec, batch.all(), kLayer, out);
  b.ops->attention(q.rows(1, 5), spec, batch.rows(1, 5), kLayer, some);
  Values values = out.values(), more = some.values();
  values.insert(values.end(), more.begin(), more.end());
  return values;
}

void add(std::vector<Case>& cases, const Setting& s) {
  const bool is_exact = s.weights == DataType::kF32;
  cases.push_back({"attention", "latent source, " + s.name, is_exact ? 3e-5 : kRoundedTwice,
                   is_exact ? "order, of two products" : "weights in halves, activations in 8 bits",
                   [s](const Backend& b) { return attend(b, s); }});
}

}  // namespace

void add_latent_cases(std::vector<Case>& cases) {
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kQ8_0})
    add(cases, {.name = "rows in " + type_name(type), .states = type});
  for (int i = 1; i < kNumDataTypes; ++i) {
    const auto type = static_cast<DataType>(i);
    add(cases, {.name = "weights in " + type_name(type), .weights = type});
  }
  add(cases, {.name = "without scales, source only, soft cap",
              .softcap = 2.5f,
              .segments = Segments::kSource,
              .has_scales = false});
  add(cases, {.name = "own keys only", .segments = Segments::kSelf});
  add(cases, {.name = "one key/value head, odd widths", .n_kv_heads = 1, .head_dim = 10, .width = 70});
  add(cases, {.name = "as many key/value heads", .n_heads = 3, .n_kv_heads = 3});
  add(cases, {.name = "parts of several chunks", .head_dim = 8, .width = 32, .n_first = 4200});
  cases.push_back({"scale_latent", "of what attention sees", 3e-5, "order",
                   [](const Backend& b) { return attend(b, {.name = "", .n_heads = 2, .n_kv_heads = 2}); }});
}

}  // namespace t5g::test
