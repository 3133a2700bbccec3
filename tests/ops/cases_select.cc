// Questions about the rows of a head: some logits, the best and its ties, log-sum-exp, everything.
#include <cmath>
#include <numeric>
#include <string>

#include "cases.h"
#include "device_rows.h"

namespace t5g::test {
namespace {

struct Question {
  std::string name;
  DataType type = DataType::kF32;
  int64_t vocab = 300, k = 64, rows = 3;
  float softcap = 0;
  Selection asked;  // of every row
  bool all = false;
  bool equal_rows = false;  // of the head: every logit has many ties
};

// Ids count as well as values: they are the same for all devices, or the difference of logits that tie is 0.
Values ask(const Backend& b, const Question& q) {
  RandomWeight weight(q.type, q.equal_rows ? 1 : q.vocab, q.k, 1);
  WeightView view = weight.view();
  std::vector<std::byte> repeated;
  if (q.equal_rows) {
    for (int64_t i = 0; i < q.vocab; ++i) repeated.insert(repeated.end(), view.bytes.begin(), view.bytes.end());
    view.bytes = repeated;
    view.rows = q.vocab;
  }
  const auto head = b.ops->load_head(view);
  const DeviceRows x(*b.device, normal(static_cast<size_t>(q.rows * q.k), 2), q.k);
  std::vector<Selection> selections(static_cast<size_t>(q.rows), q.asked);
  std::vector<Values> logits(selections.size(), Values(q.all ? static_cast<size_t>(q.vocab) : 0));
  std::vector<Selection*> pointers;
  for (size_t i = 0; i < selections.size(); ++i) {
    selections[i].all = logits[i];
    pointers.push_back(&selections[i]);
  }
  b.ops->select(x, *head, q.softcap, pointers);
  Values found;
  for (size_t i = 0; i < selections.size(); ++i) {
    const Selection& s = selections[i];
    found.insert(found.end(), logits[i].begin(), logits[i].end());
    for (const float value : s.values) found.push_back(std::isinf(value) ? -1e3f : value);
    for (const ScoredToken& token : s.best) {
      found.push_back(token.value);
      found.push_back(static_cast<float>(token.id) * 0.01f);
    }
    found.push_back(static_cast<float>(s.best.size()));
    for (const ScoredToken& token : s.top) {
      found.push_back(token.value);
      found.push_back(static_cast<float>(token.id) * 0.01f);
    }
    if (s.log_sum_exp == LogSumExp::kYes) found.push_back(s.found_log_sum_exp.value());
    if (s.keep_hidden) found.insert(found.end(), s.hidden.begin(), s.hidden.end());
  }
  return found;
}

void add(std::vector<Case>& cases, const Question& q) {
  const bool rounded = is_quantized(q.type) || q.type == DataType::kBF16;
  cases.push_back({"select", q.name, rounded ? kRounded : kOrder, rounded ? "rounded activations" : "order",
                   [q](const Backend& b) { return ask(b, q); }});
}

// Two adapters, one of rows that lie in different blocks: the best token of each row, and what its logits are.
Values ask_adapted(const Backend& b, float softcap) {
  constexpr int64_t kVocab = 300, kCols = 64, kRows = 40, kRank = 4;
  const RandomWeight weight(DataType::kF32, kVocab, kCols, 1);
  const auto head = b.ops->load_head(weight.view());
  const auto adapter = b.ops->load_low_rank(normal(kRank * kCols, 3), normal(kVocab * kRank, 4), kRank);
  const DeviceRows x(*b.device, normal(kRows * kCols, 2), kCols);
  const LowRankProduct products[] = {{adapter.get(), 1.0f, 1, 2, {}}, {adapter.get(), 0.5f, 20, 18, {}}};
  std::vector<Selection> selections(kRows);
  std::vector<Selection*> pointers;
  for (Selection& selection : selections) {
    selection.n_best = 1;
    if (pointers.size() % 2 == 0) selection.ids = {0, 7, 299};
    pointers.push_back(&selection);
  }
  b.ops->select_adapted(x, *head, products, softcap, pointers);
  Values found;
  for (const Selection& s : selections) {
    found.push_back(s.best.at(0).value);
    found.push_back(static_cast<float>(s.best[0].id) * 0.01f);
    found.insert(found.end(), s.values.begin(), s.values.end());
  }
  return found;
}

Selection best(size_t n, std::vector<int32_t> ids = {}) {
  Selection selection;
  selection.n_best = n;
  selection.ids = std::move(ids);
  return selection;
}

}  // namespace

void add_select_cases(std::vector<Case>& cases) {
  for (const float softcap : {0.0f, 20.0f})
    cases.push_back({"select_adapted", "soft cap " + std::to_string(softcap), kOrder, "order",
                     [softcap](const Backend& b) { return ask_adapted(b, softcap); }});
  for (int type = 0; type < kNumDataTypes; ++type) {
    const auto of = static_cast<DataType>(type);
    add(cases, {.name = "the best, " + type_name(of), .type = of, .asked = best(1)});
    add(cases, {.name = "everything, " + type_name(of), .type = of, .asked = {}, .all = true});
  }
  add(cases, {.name = "the best of the others", .asked = best(1, {0, 17, 299})});
  add(cases, {.name = "some logits, one of no token", .asked = best(0, {5, 299, 300, 1000})});
  add(cases, {.name = "the best seven, soft cap", .softcap = 3.0f, .asked = best(7, {2, 3})});
  add(cases, {.name = "more than there are", .vocab = 20, .asked = best(50, {4})});
  add(cases, {.name = "equal logits, first ids", .asked = best(3, {0, 2}), .equal_rows = true});
  Selection ties = best(2);
  ties.with_ties = true;
  add(cases, {.name = "equal logits, all of them", .asked = ties, .equal_rows = true});
  Selection beams = best(8, {1, 30});
  beams.kind = LogitKind::kLogProbabilities;
  beams.log_sum_exp = LogSumExp::kYes;
  add(cases, {.name = "log-probabilities", .softcap = 30.0f, .asked = beams});
  Selection kept = best(1, {7});
  kept.keep_hidden = true;
  kept.log_sum_exp = LogSumExp::kIfComputed;
  add(cases, {.name = "hidden states kept", .asked = kept});
  // Every third token is allowed, of the first 200.
  static const std::vector<uint32_t> kThirds = [] {
    std::vector<uint32_t> mask(7, 0);
    for (size_t id = 0; id < 200; id += 3) mask[id / 32] |= uint32_t{1} << (id % 32);
    return mask;
  }();
  for (const size_t n : {1, 7}) {
    Selection some = best(n, {3, 4, 299});
    some.allowed = kThirds;
    add(cases, {.name = "the best of those that are allowed, " + std::to_string(n), .softcap = 5.0f, .asked = some});
    some.n_top = 5;
    add(cases, {.name = "and the best of all, " + std::to_string(n), .softcap = 5.0f, .asked = some});
  }
  // More ids than any list of them has room for at first: of one row, and of many.
  const auto every_id = [](int64_t vocab) {
    std::vector<int32_t> ids(static_cast<size_t>(vocab));
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
  };
  for (const auto& [vocab, rows] : {std::pair<int64_t, int64_t>{300'000, 1}, {20'000, 9}})
    add(cases, {.name = "every logit of " + std::to_string(rows) + " rows by its id",
                .type = DataType::kQ8_0,
                .vocab = vocab,
                .k = 32,
                .rows = rows,
                .asked = best(1, every_id(vocab))});
  // Large enough to be searched, with fewer and more rows than a search takes; and many rows.
  for (const int64_t rows : {1, 8, 9, 40})
    add(cases, {.name = "a large head, " + std::to_string(rows) + " rows",
                .type = DataType::kQ8_0,
                .vocab = 40'000,
                .k = 128,
                .rows = rows,
                .softcap = 20.0f,
                .asked = best(1, {5, 39'999})});
  static const std::vector<uint32_t> kHalf = [] {
    std::vector<uint32_t> mask(1200, 0x0ff0ffff);
    for (size_t word = 0; word < mask.size(); word += 2) mask[word] = word % 4 == 0 ? 0 : ~uint32_t{0};
    return mask;
  }();
  for (const int64_t rows : {1, 8, 40}) {
    Selection half = best(1, {5, 39'999});
    half.allowed = kHalf;
    add(cases, {.name = "a large head of which half is allowed, " + std::to_string(rows) + " rows",
                .type = DataType::kQ8_0,
                .vocab = 40'000,
                .k = 128,
                .rows = rows,
                .softcap = 20.0f,
                .asked = half});
    Selection few = best(0, {5, 17, 18, 2000, 39'999, 40'000});
    few.log_sum_exp = LogSumExp::kIfComputed;
    add(cases, {.name = "a few logits of a large head, " + std::to_string(rows) + " rows",
                .type = DataType::kQ8_0,
                .vocab = 40'000,
                .k = 128,
                .rows = rows,
                .softcap = 20.0f,
                .asked = few});
  }
}

}  // namespace t5g::test
