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

void add_linear(std::vector<Case>& cases, const Product p) {
  cases.push_back(
      {"linear", p.name() + ": two at once, a bias, a sum", p.tolerance(), p.reason(), [p](const Backend& b) {
         const RandomWeight first(p.type, p.n, p.k, 1), second(p.type, p.n + 3, p.k, 2);
         const auto w1 = b.ops->load(first.view()), w2 = b.ops->load(second.view());
         const DeviceRows x(*b.device, normal(static_cast<size_t>(p.m * p.k), 3), p.k);
         const DeviceRows y1(*b.device, p.m, p.n), bias(*b.device, normal(static_cast<size_t>(p.n), 4), p.n);
         const DeviceRows y2(*b.device, normal(static_cast<size_t>(p.m * (p.n + 3)), 5), p.n + 3);
         b.ops->linear(x, {{w1.get(), y1, bias}, {w2.get(), y2, {}, /*add=*/true}});
         return two(y1, y2);
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
  for (int i = 0; i < kNumDataTypes; ++i) {
    const auto type = static_cast<DataType>(i);
    for (const int64_t m : {1, 2, 3, 8, 9, 70}) add_linear(cases, {type, m, 50, 96});
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
