// Ops that work row by row, and those that move rows.
#include <numeric>
#include <string>

#include "cases.h"
#include "device_rows.h"

namespace t5g::test {
namespace {

// A batch of one sequence with these tokens.
struct OneSequence {
  OneSequence(const Backend& backend, const std::vector<int32_t>& ids, int64_t first_position)
      : pool(backend.ops->make_kv_pool({.type = DataType::kF32, .n_kv_heads = 1, .head_dim = 4}, 1)) {
    batch.clear(*pool);
    batch.add_tokens(ids, first_position, {});
    backend.ops->upload(batch);
  }
  std::shared_ptr<KvPool> pool;
  Batch batch;
};

struct Shape {
  int64_t rows, cols;
  std::string name() const { return std::to_string(rows) + " x " + std::to_string(cols); }
  Values values(uint32_t seed) const { return normal(static_cast<size_t>(rows * cols), seed); }
};

void add_norms(std::vector<Case>& cases, Shape s) {
  constexpr float kEps = 1e-6f;
  cases.push_back({"rms_norm", s.name(), kOrder, "order of a sum", [=](const Backend& b) {
                     const DeviceRows x(*b.device, s.values(1), s.cols), w(*b.device, normal(s.cols, 2), s.cols);
                     const DeviceRows out(*b.device, s.rows, s.cols);
                     b.ops->rms_norm(x, w, kEps, out);
                     return out.values();
                   }});
  cases.push_back({"rms_norm_heads", s.name(), kOrder, "order of a sum", [=](const Backend& b) {
                     const DeviceRows x(*b.device, Shape{s.rows, 3 * s.cols}.values(3), 3 * s.cols);
                     const DeviceRows w(*b.device, normal(s.cols, 4), s.cols);
                     b.ops->rms_norm_heads(x, w, kEps);
                     return x.values();
                   }});
  cases.push_back({"add_rms_norm", s.name(), kOrder, "order of a sum", [=](const Backend& b) {
                     const DeviceRows x(*b.device, s.values(5), s.cols), a(*b.device, s.values(6), s.cols);
                     const DeviceRows w(*b.device, normal(s.cols, 7), s.cols);
                     b.ops->add_rms_norm(x, a, w, kEps);
                     return x.values();
                   }});
  cases.push_back({"layer_norm", s.name(), kOrder, "order of two sums", [=](const Backend& b) {
                     const DeviceRows x(*b.device, s.values(8), s.cols), w(*b.device, normal(s.cols, 9), s.cols);
                     const DeviceRows bias(*b.device, normal(s.cols, 10), s.cols);
                     b.ops->layer_norm(x, w, bias, kEps, x);
                     return x.values();
                   }});
}

void add_rope(std::vector<Case>& cases, int head_dim, int64_t first_position) {
  const std::string name = "head_dim " + std::to_string(head_dim) + " from position " + std::to_string(first_position);
  cases.push_back({"rope", name, 1e-4, "cosines of large angles", [=](const Backend& b) {
                     const OneSequence of(b, std::vector<int32_t>(7, 1), first_position);
                     const auto rotary = b.ops->load_rotary({.head_dim = head_dim, .theta = 1e6, .factor = 8});
                     const Shape shape{5, int64_t{3} * head_dim};
                     const DeviceRows x(*b.device, shape.values(11), shape.cols);
                     b.ops->rope(x, of.batch.rows(2, 5), *rotary);
                     return x.values();
                   }});
}

void add_embed(std::vector<Case>& cases, DataType type) {
  cases.push_back({"embed", type_name(type) + ", one token with a vector of its own", 1e-6, "rounding of one product",
                   [=](const Backend& b) {
                     const RandomWeight weight(type, 40, 64, 12);
                     const auto table = b.ops->load_table(weight.view());
                     const OneSequence of(b, {0, 39, 7, 7, 20}, 0);
                     const DeviceRows out(*b.device, 4, 64), special(*b.device, normal(64, 13), 64);
                     b.ops->embed({.table = table.get(), .scale = 8.5f, .special_id = 7, .special = special},
                                  of.batch.rows(1, 4), out);
                     return out.values();
                   }});
  cases.push_back({"add_rows", type_name(type), 1e-6, "rounding of one sum", [=](const Backend& b) {
                     const RandomWeight weight(type, 40, 64, 14);
                     const auto table = b.ops->load_table(weight.view());
                     const DeviceRows x(*b.device, Shape{9, 64}.values(15), 64);
                     b.ops->add_rows(x, *table, 31);
                     return x.values();
                   }});
}

void add_moves(std::vector<Case>& cases) {
  const Shape s{9, 33};
  const std::vector<int32_t> places = {8, 0, 3, 3};
  cases.push_back({"gather_rows", "one row twice", 0, "copies", [=](const Backend& b) {
                     const DeviceRows x(*b.device, s.values(16), s.cols), out(*b.device, 4, s.cols);
                     b.ops->gather_rows(x, places, out);
                     return out.values();
                   }});
  cases.push_back({"scatter_rows", "others stay", 0, "copies", [=](const Backend& b) {
                     const DeviceRows x(*b.device, normal(3 * 33, 17), s.cols), out(*b.device, s.values(18), s.cols);
                     b.ops->scatter_rows(x, std::vector<int32_t>{5, 0, 8}, out);
                     return out.values();
                   }});
}

void add_images(std::vector<Case>& cases) {
  cases.push_back({"patches", "from the second row on", 1e-6, "rounding", [](const Backend& b) {
                     std::vector<uint8_t> pixels(28 * 28 * 3);
                     std::iota(pixels.begin(), pixels.end(), uint8_t{3});
                     const PatchSpec spec{28, 7, {0.5f, 0.4f, 0.3f}, {0.5f, 0.25f, 0.2f}};
                     const DeviceRows out(*b.device, 6, 3 * 7 * 7);
                     b.ops->patches(pixels, spec, 5, out);
                     return out.values();
                   }});
  cases.push_back({"mean_pool", "3 x 3 windows", kOrder, "order of a sum", [](const Backend& b) {
                     const DeviceRows x(*b.device, Shape{36, 17}.values(19), 17), out(*b.device, 4, 17);
                     b.ops->mean_pool(x, 3, out);
                     return out.values();
                   }});
}

}  // namespace

void add_row_cases(std::vector<Case>& cases) {
  for (const Shape shape : {Shape{1, 64}, {7, 33}, {300, 160}, {2, 1}}) add_norms(cases, shape);
  for (const int head_dim : {2, 64, 72}) {
    for (const int64_t position : {0, 1000, 120'000}) add_rope(cases, head_dim, position);
  }
  for (int type = 0; type < kNumDataTypes; ++type) add_embed(cases, static_cast<DataType>(type));
  add_moves(cases);
  add_images(cases);
}

}  // namespace t5g::test
