// Keys and values stored and looked at: types, windows, soft caps, groups of heads, both kinds of keys, parts.
#include "base/half.h"
#include "cases.h"

namespace t5g::gpu::test {
namespace {

constexpr uint32_t kUnlimited = 0x7FFFFFFF;

struct Lengths {
  uint32_t rows, cached, source;
};

struct Setting {
  std::string name;
  uint32_t heads = 4, kv_heads = 2, head_dim = 16;
  std::vector<Lengths> sequences = {{3, 70, 90}};
  uint32_t segments = kSelfKeys | kSourceKeys, before = kUnlimited, after = 0;
  float softcap = 0;
  uint32_t part_chunks = kDecodePartChunks;
};

// A batch whose keys and values are in memory: sequences' own in single pages, those of sources in runs.
class Filled {
 public:
  Filled(const Setting& s, KvType type);
  void attend(const std::string& what) const;

 private:
  struct Kept {
    Values k[2], v[2];  // own, source: [tokens, kv_heads, head_dim]
  };
  void store(const Values& k, const Values& v, const Sequence& of) const;
  BatchView view() const { return {pages_.data(), sequences_.data(), row_sequence_.data(), positions_.data()}; }
  double expected(size_t sequence, uint32_t row, uint32_t head, std::vector<double>& out) const;
  float stored(float x) const;

  static constexpr uint32_t kLayers = 3, kLayer = 1;
  const Setting s_;
  const KvType type_;
  const size_t slot_;
  uint32_t rows_ = 0;
  std::vector<Sequence> list_;
  std::vector<uint32_t> owner_;
  std::vector<int32_t> position_;
  std::vector<Kept> kept_;
  Values q_;
  Memory<uint8_t> pool_;
  Memory<Page> pages_;
  Memory<Sequence> sequences_;
  Memory<uint32_t> row_sequence_;
  Memory<int32_t> positions_;
};

size_t n_pages(const Setting& s) {
  size_t n = 0;
  for (const Lengths& l : s.sequences) n += divide_up(l.rows + l.cached, kChunkKeys) + divide_up(l.source, kChunkKeys);
  return n;
}
size_t n_rows(const Setting& s) {
  size_t n = 0;
  for (const Lengths& l : s.sequences) n += l.rows;
  return n;
}

Filled::Filled(const Setting& s, KvType type)
    : s_(s),
      type_(type),
      slot_(s.kv_heads * kv_head_bytes(type, static_cast<int>(s.head_dim))),
      pool_(n_pages(s) * kLayers * slot_),
      pages_(n_pages(s)),
      sequences_(s.sequences.size()),
      row_sequence_(n_rows(s)),
      positions_(n_rows(s)) {
  Random random(11);
  size_t page = 0;
  uint8_t* end = pool_.data() + pool_.size();  // so that pages do not rise
  for (const Lengths& l : s.sequences) {
    const uint32_t own = l.rows + l.cached, own_chunks = divide_up(own, kChunkKeys),
                   chunks = divide_up(l.source, kChunkKeys);
    Sequence sequence{{slot_, static_cast<uint32_t>(page), own}, {}, rows_, l.rows, l.cached, 0};
    for (uint32_t c = 0; c < own_chunks; ++c) pages_[page++].data = end -= kLayers * slot_;
    sequence.source = {chunks * slot_, static_cast<uint32_t>(page), l.source};
    end -= chunks * kLayers * slot_;
    for (uint32_t c = 0; c < chunks; ++c) pages_[page++].data = end + c * slot_;
    for (uint32_t i = 0; i < l.rows; ++i) {
      row_sequence_[rows_ + i] = static_cast<uint32_t>(list_.size());
      positions_[rows_ + i] = static_cast<int32_t>(l.cached + i);
    }
    rows_ += l.rows;
    sequences_[list_.size()] = sequence;
    list_.push_back(sequence);
    Kept kept;
    for (int part = 0; part < 2; ++part) {
      const size_t size = size_t{part == 0 ? own : l.source} * s.kv_heads * s.head_dim;
      kept.k[part] = random.floats(size);
      kept.v[part] = random.floats(size);
      Sequence as_own = sequence;
      if (part == 1) as_own.self = sequence.source;
      if (size > 0) store(kept.k[part], kept.v[part], as_own);
    }
    kept_.push_back(std::move(kept));
  }
  q_ = random.floats(size_t{rows_} * s.heads * s.head_dim, 2);
}

// All of a sequence's tokens, as rows of a batch that has another row before them.
void Filled::store(const Values& k, const Values& v, const Sequence& of) const {
  const uint32_t n = of.self.length, width = s_.kv_heads * s_.head_dim;
  const Memory<Sequence> sequence(std::vector<Sequence>{of});
  const Memory<uint32_t> owner(size_t{n} + 1);
  const Memory<int32_t> positions(size_t{n} + 1);
  for (uint32_t i = 0; i < n; ++i) positions[i + 1] = static_cast<int32_t>(i);
  const Memory<float> d_k(k), d_v(v);
  // The other layers hold something else.
  const Memory<float> other(size_t{n} * width, 9.0f);
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    const bool own = layer == kLayer;
    launch(for_kv_type(KernelId::store_kv_F32, type_), {n, s_.kv_heads},
           StoreKvArgs{own ? d_k.data() : other.data(),
                       own ? d_v.data() : other.data(),
                       {pages_.data(), sequence.data(), owner.data(), positions.data()},
                       1,
                       layer,
                       s_.kv_heads,
                       s_.head_dim});
  }
}

float Filled::stored(float x) const {
  if (type_ == KvType::kF16) return t5g::half_to_float(t5g::float_to_half(x));
  if (type_ == KvType::kBF16) return bfloat16_to_float(float_to_bfloat16(x));
  return x;
}

// -> the sum of weights' sizes, which errors are relative to.
double Filled::expected(size_t sequence, uint32_t row, uint32_t head, std::vector<double>& out) const {
  const Lengths& l = s_.sequences[sequence];
  const float* q = q_.data() + (size_t{list_[sequence].first_row + row} * s_.heads + head) * s_.head_dim;
  const int64_t position = l.cached + row;
  std::vector<double> scores;
  std::vector<const float*> values;
  for (int part = 0; part < 2; ++part) {
    if ((s_.segments & (part == 0 ? kSelfKeys : kSourceKeys)) == 0) continue;
    const uint32_t n = part == 0 ? l.rows + l.cached : l.source;
    for (uint32_t j = 0; j < n; ++j) {
      if (part == 0 && (j + int64_t{s_.before} < position || j > position + int64_t{s_.after})) continue;
      const size_t at = (size_t{j} * s_.kv_heads + head / (s_.heads / s_.kv_heads)) * s_.head_dim;
      double sum = 0;
      for (uint32_t d = 0; d < s_.head_dim; ++d) sum += double{q[d]} * stored(kept_[sequence].k[part][at + d]);
      sum *= 0.3;
      scores.push_back(s_.softcap > 0 ? s_.softcap * std::tanh(sum / s_.softcap) : sum);
      values.push_back(&kept_[sequence].v[part][at]);
    }
  }
  out.assign(s_.head_dim, 0);
  double largest = -1e300, sum = 0;
  for (const double score : scores) largest = std::max(largest, score);
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (size_t j = 0; j < scores.size(); ++j) {
    for (uint32_t d = 0; d < s_.head_dim; ++d) out[d] += scores[j] / sum * stored(values[j][d]);
  }
  return 1;
}

void Filled::attend(const std::string& what) const {
  uint32_t parts = 1;
  for (const Lengths& l : s_.sequences) {
    const auto of = [&](uint32_t keys) { return divide_up(divide_up(keys, kChunkKeys), s_.part_chunks); };
    parts = std::max(parts, of(l.rows + l.cached) + of(l.source));
  }
  const size_t size = size_t{rows_} * s_.heads * s_.head_dim;
  const Memory<float> q(q_), out(size, NAN), acc(size * parts, NAN), state(size_t{rows_} * s_.heads * 2 * parts, NAN);
  AttentionArgs args{q.data(),
                     out.data(),
                     acc.data(),
                     state.data(),
                     view(),
                     rows_,
                     0,
                     kLayer,
                     s_.segments,
                     s_.heads,
                     s_.kv_heads,
                     s_.head_dim,
                     parts,
                     s_.part_chunks,
                     s_.before,
                     s_.after,
                     0.3f * 1.44269504f,
                     s_.softcap * 1.44269504f,
                     0};
  launch(for_kv_type(KernelId::attention_F32, type_), {rows_, s_.heads, parts}, args);
  if (parts > 1)
    launch(KernelId::attention_merge, {divide_up(uint64_t{rows_} * s_.heads, 4)},
           AttentionMergeArgs{acc.data(), state.data(), out.data(), rows_, s_.heads, s_.head_dim, parts});
  double worst = 0;
  std::vector<double> row;
  for (size_t b = 0; b < list_.size(); ++b) {
    for (uint32_t i = 0; i < list_[b].n_rows; ++i) {
      for (uint32_t h = 0; h < s_.heads; ++h) {
        expected(b, i, h, row);
        const float* found = out.data() + (size_t{list_[b].first_row + i} * s_.heads + h) * s_.head_dim;
        for (uint32_t d = 0; d < s_.head_dim; ++d)
          worst = std::max(worst, std::isnan(found[d]) ? HUGE_VAL : std::abs(found[d] - row[d]));
      }
    }
  }
  // Q8_0: keys and values are rounded to 1 / 254 of the largest of 32.
  check(worst <= (type_ == KvType::kQ8_0 ? 2e-2 : 2e-6), what, worst);

  // The last row alone, as part of the batch, and in as many parts as it needs itself: the same bits.
  const Memory<float> alone(size_t{s_.heads} * s_.head_dim, NAN);
  args.q = q.data() + size_t{rows_ - 1} * s_.heads * s_.head_dim;
  args.out = alone.data();
  args.rows = 1;
  args.first_row = rows_ - 1;
  launch(for_kv_type(KernelId::attention_F32, type_), {1, s_.heads, parts}, args);
  if (parts > 1)
    launch(KernelId::attention_merge, {divide_up(s_.heads, 4)},
           AttentionMergeArgs{acc.data(), state.data(), alone.data(), 1, s_.heads, s_.head_dim, parts});
  for (size_t i = 0; i < alone.size(); ++i)
    check(alone[i] == out[size - alone.size() + i], what + ": other bits alone",
          alone[i] - out[size - alone.size() + i]);
}

}  // namespace

void test_attention() {
  const std::vector<Lengths> several = {{1, 0, 5}, {4, 130, 0}, {2, 63, 64}, {20, 1, 200}, {1, 5, 65}};
  std::vector<Setting> settings = {
      {.name = "both kinds of keys"},
      {.name = "several sequences", .sequences = several},
      {.name = "head_dim 2", .heads = 3, .kv_heads = 3, .head_dim = 2},
      {.name = "head_dim 72", .heads = 4, .kv_heads = 1, .head_dim = 72},
      {.name = "head_dim 256", .heads = 2, .kv_heads = 1, .head_dim = 256, .sequences = {{1, 300, 0}}},
      {.name = "soft cap", .sequences = several, .softcap = 2.5f},
      {.name = "own keys", .sequences = several, .segments = kSelfKeys},
      {.name = "source", .sequences = several, .segments = kSourceKeys},
  };
  for (const uint32_t width : {0u, 1u, 62u, 63u, 64u, 65u, 200u}) {
    settings.push_back({.name = "window of " + std::to_string(width), .sequences = {{3, 200, 10}}, .before = width});
    settings.push_back({.name = "encoder, window of " + std::to_string(width),
                        .sequences = {{70, 0, 0}},
                        .segments = kSelfKeys,
                        .before = width,
                        .after = width,
                        .part_chunks = kWholePartChunks});
  }
  const char* names[] = {"f32", "f16", "bf16", "q8_0"};
  for (uint32_t type = 0; type < 4; ++type) {
    for (const Setting& setting : settings)
      Filled(setting, static_cast<KvType>(type)).attend(std::string("attention ") + names[type] + ", " + setting.name);
  }
}

}  // namespace t5g::gpu::test
