// Products with weights of every type.
#include <string>

#include "cases.h"
#include "device_rows.h"

namespace t5g::test {
namespace {

struct Product {
  DataType type;
  int64_t m, n, k;
  std::string name() const {
    return type_name(type) + ", " + std::to_string(m) + " rows, " + std::to_string(n) + " x " + std::to_string(k);
  }
  bool is_rounded() const { return is_quantized(type) || type == DataType::kBF16; }
  double tolerance() const { return is_rounded() ? kRounded : kOrder; }
  const char* reason() const {
    return is_quantized(type) ? "activations in 8 bits" : type == DataType::kBF16 ? "activations in bfloat16" : "order";
  }
};

Values two(const DeviceRows& a, const DeviceRows& b) {
  Values values = a.values(), more = b.values();
  values.insert(values.end(), more.begin(), more.end());
  return values;
}

// A batch of rows of no meaning, uploaded: of a source as a whole, or of a decoder's sequence. Some devices multiply
// one and the other in their own ways.
class Pass {
 public:
  Pass(const Backend& b, int64_t rows, bool is_whole)
      : pool_(b.ops->make_kv_pool({.type = DataType::kF32, .n_kv_heads = 1, .head_dim = 4}, 1)),
        run_(pool_, kv_chunks(rows)) {
    const int32_t first = run_.first();
    const std::vector<int32_t> ids(static_cast<size_t>(rows));
    batch_.clear(*pool_);
    batch_.add_tokens(ids, 0, is_whole ? KvPages{.pages = {&first, 1}, .length = rows, .is_run = true} : KvPages{});
    b.ops->upload(batch_);
  }

 private:
  const std::shared_ptr<KvPool> pool_;
  const KvRun run_;
  Batch batch_;
};

void add_linear(std::vector<Case>& cases, const Product p, bool is_whole = false) {
  cases.push_back({"linear", p.name() + (is_whole ? ", of a source" : "") + ": two at once, a bias, a sum",
                   p.tolerance(), p.reason(), [p, is_whole](const Backend& b) {
                     const Pass pass(b, p.m, is_whole);
                     const RandomWeight first(p.type, p.n, p.k, 1), second(p.type, p.n + 3, p.k, 2);
                     const auto w1 = b.ops->load(first.view()), w2 = b.ops->load(second.view());
                     const DeviceRows x(*b.device, normal(static_cast<size_t>(p.m * p.k), 3), p.k);
                     const DeviceRows y1(*b.device, p.m, p.n),
                         bias(*b.device, normal(static_cast<size_t>(p.n), 4), p.n);
                     const DeviceRows y2(*b.device, normal(static_cast<size_t>(p.m * (p.n + 3)), 5), p.n + 3);
                     b.ops->linear(x, {{w1.get(), y1, bias}, {w2.get(), y2, {}, /*add=*/true}});
                     return two(y1, y2);
                   }});
}

// Two adapters of other ranks and scales, each of some rows.
void add_adapters(std::vector<Case>& cases, int64_t m, bool is_whole) {
  constexpr int64_t kIn = 75, kOut = 50;
  cases.push_back({"add_low_rank", std::to_string(m) + " rows" + (is_whole ? ", of a source" : ""), kOrder, "order",
                   [m, is_whole](const Backend& b) {
                     const Pass pass(b, m, is_whole);
                     const auto values = [](int64_t n, uint32_t seed) { return normal(static_cast<size_t>(n), seed); };
                     const auto first = b.ops->load_low_rank(values(4 * kIn, 1), values(kOut * 4, 2), 4);
                     const auto second = b.ops->load_low_rank(values(11 * kIn, 3), values(kOut * 11, 4), 11);
                     const DeviceRows x(*b.device, values(m * kIn, 5), kIn), y(*b.device, values(m * kOut, 6), kOut);
                     const LowRankProduct products[] = {{first.get(), 2.0f, 0, m, y},
                                                        {second.get(), 0.25f, m / 2, m - m / 2, y},
                                                        {first.get(), -0.5f, m / 3, 1, y}};
                     b.ops->add_low_rank(x, products);
                     return y.values();
                   }});
}

void add_activations(std::vector<Case>& cases) {
  cases.push_back({"geglu", "", kOrder, "tanh", [](const Backend& b) {
                     const DeviceRows gate(*b.device, normal(7 * 33, 1), 33), up(*b.device, normal(7 * 33, 2), 33);
                     b.ops->geglu(gate, up);
                     return gate.values();
                   }});
  cases.push_back({"bias_gelu", "", kOrder, "tanh", [](const Backend& b) {
                     const DeviceRows x(*b.device, normal(7 * 33, 3), 33), bias(*b.device, normal(33, 4), 33);
                     b.ops->bias_gelu(x, bias);
                     return x.values();
                   }});
}

void add_mlps(std::vector<Case>& cases, const Product p) {
  cases.push_back({"geglu_mlp", p.name(), p.is_rounded() ? kRoundedTwice : kOrder, p.reason(), [p](const Backend& b) {
                     const RandomWeight g(p.type, p.n, p.k, 6), u(p.type, p.n, p.k, 7), d(p.type, p.k, p.n, 8);
                     const auto gate = b.ops->load(g.view()), up = b.ops->load(u.view()), down = b.ops->load(d.view());
                     const DeviceRows x(*b.device, normal(static_cast<size_t>(p.m * p.k), 9), p.k);
                     const DeviceRows inner(*b.device, p.m, p.n), other(*b.device, p.m, p.n), y(*b.device, p.m, p.k);
                     b.ops->geglu_mlp(x, {gate.get(), inner}, {up.get(), other}, {down.get(), y});
                     return y.values();
                   }});
  cases.push_back({"gelu_mlp", p.name() + ", biases, a sum", p.is_rounded() ? kRoundedTwice : kOrder, p.reason(),
                   [p](const Backend& b) {
                     const RandomWeight first(p.type, p.n, p.k, 10), second(p.type, p.k, p.n, 11);
                     const auto fc1 = b.ops->load(first.view()), fc2 = b.ops->load(second.view());
                     const auto size = static_cast<size_t>(p.m * p.k);
                     const DeviceRows x(*b.device, normal(size, 12), p.k), y(*b.device, normal(size, 13), p.k);
                     const DeviceRows inner(*b.device, p.m, p.n);
                     const DeviceRows bias1(*b.device, normal(static_cast<size_t>(p.n), 14), p.n);
                     const DeviceRows bias2(*b.device, normal(static_cast<size_t>(p.k), 15), p.k);
                     b.ops->gelu_mlp(x, {fc1.get(), inner, bias1}, {fc2.get(), y, bias2, /*add=*/true});
                     return y.values();
                   }});
}

}  // namespace

void add_weight_cases(std::vector<Case>& cases) {
  for (const int64_t m : {1, 9, 70}) {
    add_adapters(cases, m, /*is_whole=*/false);
    add_adapters(cases, m, /*is_whole=*/true);
  }
  add_activations(cases);
  for (int i = 0; i < kNumDataTypes; ++i) {
    const auto type = static_cast<DataType>(i);
    for (const int64_t m : {1, 2, 3, 8, 9, 70}) add_linear(cases, {type, m, 50, 96});
    for (const int64_t m : {1, 70}) add_linear(cases, {type, m, 50, 96}, /*is_whole=*/true);
    add_linear(cases, {type, 4, 1, 32});
    for (const int64_t m : {1, 40}) add_mlps(cases, {type, m, 96, 64});
    if (is_quantized(type)) continue;
    for (const int64_t k : {1, 33, 75}) add_linear(cases, {type, 5, 20, k});  // no whole blocks or pairs
    cases.push_back({"linear", type_name(type) + " held as q8_0, rows padded to blocks", kRounded, "8 bits",
                     [type](const Backend& b) {
                       const RandomWeight weight(type, 20, 75, 16);
                       WeightView view = weight.view();
                       view.as_q8_0 = true;
                       const auto w = b.ops->load(view);
                       const DeviceRows x(*b.device, normal(6 * 75, 17), 75), y(*b.device, 6, 20);
                       b.ops->linear(x, {{w.get(), y}});
                       return y.values();
                     }});
  }
}

}  // namespace t5g::test
