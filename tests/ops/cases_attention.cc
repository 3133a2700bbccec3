// Keys and values stored and looked at: types, groups of heads, windows, soft caps, both kinds of keys, several
// sequences, scattered pages and runs, pages that were copied.
#include <optional>
#include <string>

#include "cases.h"
#include "device_rows.h"

namespace t5g::test {
namespace {

struct Sequence {
  int64_t n_cached;  // tokens of its own before the rows
  int64_t n_rows;
  int64_t n_source;
};

struct Setting {
  std::string name;
  DataType type = DataType::kF32;
  int n_heads = 4, n_kv_heads = 2, head_dim = 16;
  float softcap = 0;
  Segments segments = Segments::kBoth;
  Window window = {.before = Window::kUnlimited, .after = 0};
  std::vector<Sequence> sequences = {{.n_cached = 70, .n_rows = 3, .n_source = 90}};
  bool is_run = false;  // its own pages, as in the encoder
  Scores scores = Scores::kOfKeys;

  KvFormat format() const { return {type, n_kv_heads, head_dim}; }
};

constexpr int kLayers = 2, kLayer = 1;

// Two layers are filled, one is looked at.
class Filled {
 public:
  Filled(const Backend& backend, const Setting& setting)
      : backend_(backend), setting_(setting), pool_(backend.ops->make_kv_pool(setting.format(), kLayers)) {
    for (const Sequence& sequence : setting.sequences) {
      own_.push_back(make(sequence.n_cached + sequence.n_rows, setting.is_run));
      sources_.push_back(make(sequence.n_source, true));
      fill(own_.back(), sequence.n_cached, static_cast<uint32_t>(own_.size()));
      fill(sources_.back(), sequence.n_source, static_cast<uint32_t>(100 + own_.size()));
    }
    batch_.clear(*pool_);
    for (size_t i = 0; i < own_.size(); ++i) {
      const Sequence& sequence = setting.sequences[i];
      const KvPages source = sequence.n_source > 0 ? sources_[i].pages(sequence.n_source) : KvPages{};
      batch_.add_rows(sequence.n_rows, sequence.n_cached, own_[i].pages(sequence.n_cached + sequence.n_rows), source);
    }
    backend.ops->upload(batch_);
  }
  const Batch& batch() const { return batch_; }

  // Keys and values of all rows.
  void store() {
    for (int layer = 0; layer < kLayers; ++layer) {
      const DeviceRows k = rows(batch_.n_rows(), 7), v = rows(batch_.n_rows(), 8);
      backend_.ops->store_kv(k, v, batch_.all(), layer, setting_.scores);
      backend_.device->wait();
    }
  }

 private:
  struct Place {
    std::vector<KvRun> runs;
    std::vector<int32_t> numbers;
    bool is_run;
    KvPages pages(int64_t length) const { return {.pages = numbers, .length = length, .is_run = is_run}; }
  };
  Place make(int64_t length, bool is_run) {
    Place place{{}, {}, is_run};
    const int64_t n = kv_chunks(length);
    if (n == 0) return place;
    for (int64_t i = 0; i < (is_run ? 1 : n); ++i) {
      place.runs.emplace_back(pool_, is_run ? n : 1);
      spare_.emplace_back(pool_, 1);  // so that pages are not neighbours
    }
    for (const KvRun& run : place.runs) place.numbers.push_back(run.first());
    return place;
  }
  DeviceRows rows(int64_t n, uint32_t seed) const {
    const int64_t width = int64_t{setting_.n_kv_heads} * setting_.head_dim;
    return {*backend_.device, normal(static_cast<size_t>(n * width), seed), width};
  }
  void fill(const Place& place, int64_t n, uint32_t seed) {
    if (n == 0) return;
    batch_.clear(*pool_);
    batch_.add_rows(n, 0, place.pages(n));
    backend_.ops->upload(batch_);
    for (int layer = 0; layer < kLayers; ++layer) {
      const DeviceRows k = rows(n, 10 * seed + layer), v = rows(n, 10 * seed + 5 + layer);
      backend_.ops->store_kv(k, v, batch_.all(), layer, setting_.scores);
      backend_.device->wait();
    }
  }

  const Backend& backend_;
  const Setting setting_;
  const std::shared_ptr<KvPool> pool_;
  std::vector<Place> own_, sources_;
  std::vector<KvRun> spare_;
  Batch batch_;
};

// Rows [first, first + n) of the batch; n 0: all.
Values attend(const Backend& b, const Setting& s, int64_t first = 0, int64_t n = 0) {
  Filled filled(b, s);
  filled.store();
  const int64_t width = int64_t{s.n_heads} * s.head_dim, count = n > 0 ? n : filled.batch().n_rows();
  const DeviceRows q(*b.device, normal(static_cast<size_t>((first + count) * width), 9), width);
  const DeviceRows out(*b.device, count, width);
  const AttentionSpec spec{.n_heads = s.n_heads,
                           .kv = s.format(),
                           .scale = 0.3f,
                           .softcap = s.softcap,
                           .segments = s.segments,
                           .window = s.window,
                           .scores = s.scores};
  b.ops->attention(q.rows(first, count), spec, filled.batch().rows(first, count), kLayer, out);
  return out.values();
}

void add(std::vector<Case>& cases, const Setting& s) {
  struct Allowed {
    double difference;
    const char* reason;
  } allowed = {kOrder, "order"};
  if (s.type == DataType::kBF16) allowed = {2e-2, "queries and weights in bfloat16"};
  if (s.type == DataType::kF16) {
    allowed = {2e-3, "queries and weights in halves, where a device has fragments of halves"};
  }
  if (s.type == DataType::kQ8_0) allowed = {2e-4, "queries and weights in 16 bits on CPUs"};
  cases.push_back(
      {"attention", s.name, allowed.difference, allowed.reason, [s](const Backend& b) { return attend(b, s); }});
}

}  // namespace

void add_attention_cases(std::vector<Case>& cases) {
  const std::vector<Sequence> several = {{0, 1, 5}, {130, 4, 0}, {63, 2, 64}, {1, 70, 200}, {5, 1, 65}};
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBF16, DataType::kQ8_0}) {
    const std::string name = "keys in " + type_name(type);
    add(cases, {.name = name, .type = type});
    add(cases, {.name = name + ", several sequences", .type = type, .sequences = several});
    add(cases, {.name = name + ", long, one token", .type = type, .sequences = {{1500, 1, 2100}}});
    for (const int head_dim : {2, 72, 256})
      add(cases, {.name = name + ", head_dim " + std::to_string(head_dim), .type = type, .head_dim = head_dim});
  }
  add(cases, {.name = "coarse scores of many keys, and of few",
              .type = DataType::kBF16,
              .head_dim = 64,
              .segments = Segments::kSelf,
              .window = {},
              .sequences = {{.n_cached = kManyKeys + 1, .n_rows = 3, .n_source = 0}, {90, 3, 0}},
              .is_run = true,
              .scores = Scores::kCoarseOfMany});
  add(cases, {.name = "one key/value head", .n_heads = 8, .n_kv_heads = 1});
  add(cases, {.name = "as many key/value heads", .n_heads = 3, .n_kv_heads = 3});
  add(cases, {.name = "soft cap", .softcap = 2.5f, .sequences = several});
  add(cases, {.name = "own keys only", .segments = Segments::kSelf, .sequences = several});
  add(cases, {.name = "source only", .segments = Segments::kSource, .sequences = several});
  add(cases, {.name = "source only, which is empty", .segments = Segments::kSource, .sequences = {{3, 2, 0}}});
  for (const int64_t before : {0, 1, 62, 63, 64, 65, 1000}) {
    add(cases, {.name = "window of " + std::to_string(before),
                .window = {.before = before, .after = 0},
                .sequences = {{130, 70, 10}}});
    add(cases, {.name = "encoder, window of " + std::to_string(before),
                .segments = Segments::kSelf,
                .window = {.before = before, .after = before},
                .sequences = {{0, 200, 0}},
                .is_run = true});
  }
  cases.push_back({"attention", "some rows of a batch", kOrder, "order",
                   [several](const Backend& b) { return attend(b, {.name = "", .sequences = several}, 3, 40); }});
  cases.push_back({"store_kv", "what a copied page holds", kOrder, "order", [](const Backend& b) {
                     const KvFormat format{DataType::kF32, 1, 8};
                     const auto pool = b.ops->make_kv_pool(format, 1);
                     const KvRun first(pool, 1), second(pool, 1);
                     const int32_t from = first.first(), to = second.first();
                     Batch batch;
                     batch.clear(*pool);
                     batch.add_rows(20, 0, {.pages = {&from, 1}, .length = 20});
                     b.ops->upload(batch);
                     const DeviceRows k(*b.device, normal(160, 1), 8), v(*b.device, normal(160, 2), 8);
                     b.ops->store_kv(k, v, batch.all(), 0);
                     pool->copy(from, to);
                     batch.clear(*pool);
                     batch.add_rows(2, 20, {.pages = {&to, 1}, .length = 22});
                     b.ops->upload(batch);
                     b.ops->store_kv(k.rows(3, 2), v.rows(3, 2), batch.all(), 0);
                     const DeviceRows q(*b.device, normal(16, 3), 8), out(*b.device, 2, 8);
                     b.ops->attention(q, {1, format, 1.0f, 0.0f, Segments::kSelf, {.after = 0}}, batch.all(), 0, out);
                     return out.values();
                   }});
}

}  // namespace t5g::test
