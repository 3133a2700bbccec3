// Keys and values stored and looked at: types, windows, soft caps, groups of heads, both kinds of keys, parts.
#include <memory>

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
  // In fragments, with so many tiles of 16 rows in a group.
  void attend_flash(const std::string& what, uint32_t tiles) const;
  // Rows beyond the end of their sequence store nothing, and nobody sees more for them.
  void beyond_the_end(const std::string& what) const;
  // New tokens' queries, keys and values, prepared by the kernel itself, and by those that do nothing else.
  void prepare(const std::string& what) const;

 private:
  struct Kept {
    Values k[2], v[2];  // own, source: [tokens, kv_heads, head_dim]
  };
  void store(const Values& k, const Values& v, const Sequence& of) const;
  BatchView view() const { return {pages_.data(), sequences_.data(), row_sequence_.data(), positions_.data()}; }
  void expected(size_t sequence, uint32_t row, uint32_t head, std::vector<double>& out) const;
  uint32_t n_parts() const;
  AttentionArgs args(const float* q, float* out) const;
  double worst(const Memory<float>& out) const;
  void merge(const AttentionArgs& args) const;
  std::vector<AttentionTile> make_tiles(uint32_t tiles) const;
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
  mutable std::unique_ptr<Memory<float>> acc_, state_;
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

void Filled::expected(size_t sequence, uint32_t row, uint32_t head, std::vector<double>& out) const {
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
}

uint32_t Filled::n_parts() const {
  uint32_t parts = 1;
  for (const Lengths& l : s_.sequences) {
    const auto of = [&](uint32_t keys) { return divide_up(divide_up(keys, kChunkKeys), s_.part_chunks); };
    parts = std::max(parts, of(l.rows + l.cached) + of(l.source));
  }
  return parts;
}

AttentionArgs Filled::args(const float* q, float* out) const {
  const size_t size = size_t{rows_} * s_.heads * n_parts();
  acc_ = std::make_unique<Memory<float>>(size * s_.head_dim, NAN);
  state_ = std::make_unique<Memory<float>>(size * 2, NAN);
  return {q,
          out,
          acc_->data(),
          state_->data(),
          view(),
          rows_,
          0,
          kLayer,
          s_.segments,
          s_.heads,
          s_.kv_heads,
          s_.head_dim,
          n_parts(),
          s_.part_chunks,
          s_.before,
          s_.after,
          0.3f * 1.44269504f,
          s_.softcap * 1.44269504f,
          0};
}

void Filled::merge(const AttentionArgs& a) const {
  if (a.parts == 1) return;
  launch(KernelId::attention_merge, {divide_up(uint64_t{a.rows} * a.heads, 4)},
         AttentionMergeArgs{a.acc, a.state, a.out, a.rows, a.heads, a.head_dim, a.parts});
}

double Filled::worst(const Memory<float>& out) const {
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
  return worst;
}

void check_end(const Memory<float>& all, const Memory<float>& end, const std::string& what) {
  for (size_t i = 0; i < end.size(); ++i) {
    const float expected = all[all.size() - end.size() + i];
    check(end[i] == expected, what + ": other bits alone", end[i] - expected);
  }
}

void Filled::attend(const std::string& what) const {
  const size_t row = size_t{s_.heads} * s_.head_dim;
  const Memory<float> q(q_), out(rows_ * row, NAN), alone(row, NAN);
  AttentionArgs a = args(q.data(), out.data());
  launch(for_kv_type(KernelId::attention_F32, type_), {rows_, s_.heads, a.parts}, a);
  merge(a);
  // Q8_0: keys and values are rounded to 1 / 254 of the largest of 32.
  const double error = worst(out);
  check(error <= (type_ == KvType::kQ8_0 ? 2e-2 : 2e-6), what, error);

  a.q += (rows_ - 1) * row;
  a.out = alone.data();
  a.rows = 1;
  a.first_row = rows_ - 1;
  launch(for_kv_type(KernelId::attention_F32, type_), {1, s_.heads, a.parts}, a);
  merge(a);
  check_end(out, alone, what);
}

std::vector<AttentionTile> Filled::make_tiles(uint32_t tiles) const {
  const uint32_t most = kFlashRows * tiles / (s_.heads / s_.kv_heads);
  std::vector<AttentionTile> list;
  for (uint32_t b = 0; b < list_.size(); ++b) {
    for (uint32_t i = 0; i < list_[b].n_rows; i += most)
      list.push_back({b, list_[b].first_row + i, std::min(most, list_[b].n_rows - i), 0});
  }
  return list;
}

void Filled::attend_flash(const std::string& what, uint32_t n_tiles) const {
  const KernelId kernel = flash_for(type_, static_cast<int>(s_.head_dim), n_tiles).value();
  const size_t row = size_t{s_.heads} * s_.head_dim;
  const Memory<float> q(q_), out(rows_ * row, NAN), alone(row, NAN);
  const Memory<AttentionTile> tiles(make_tiles(n_tiles));
  FlashArgs flash{args(q.data(), out.data()), tiles.data(), {}};
  AttentionArgs& a = flash.attention;
  a.batch.row_sequence = nullptr;
  a.batch.positions = nullptr;
  launch(kernel, {static_cast<uint32_t>(tiles.size()), s_.kv_heads, a.parts}, flash);
  merge(a);
  // Queries and weights are rounded, half a unit in 2^11 or 2^8 of values up to 2.
  const double error = worst(out);
  check(error <= (type_ == KvType::kF16 ? 1.5e-3 : 1.2e-2), what, error);

  const Memory<AttentionTile> last(
      std::vector<AttentionTile>{{static_cast<uint32_t>(list_.size() - 1), rows_ - 1, 1, 0}});
  flash.tiles = last.data();
  a.q += (rows_ - 1) * row;
  a.out = alone.data();
  a.rows = 1;
  a.first_row = rows_ - 1;
  launch(kernel, {1, s_.kv_heads, a.parts}, flash);
  merge(a);
  check_end(out, alone, what);
}

void Filled::beyond_the_end(const std::string& what) const {
  const size_t width = size_t{rows_} * s_.kv_heads * s_.head_dim;
  const Memory<float> q(q_), k(width, 5.0f), v(width, 5.0f), out(q.size(), NAN);
  const std::vector<uint8_t> before = pool_.values();
  std::vector<Sequence> shorter = list_;
  for (Sequence& sequence : shorter) sequence.self.length = sequence.first_position;
  std::copy(shorter.begin(), shorter.end(), sequences_.data());
  launch(for_kv_type(KernelId::store_kv_F32, type_), {rows_, s_.kv_heads},
         StoreKvArgs{k.data(), v.data(), view(), 0, kLayer, s_.kv_heads, s_.head_dim});
  const Memory<AttentionTile> tiles(make_tiles(1));
  FlashArgs flash{args(q.data(), out.data()), tiles.data(), {}};
  flash.prepare = {nullptr, nullptr, nullptr, k.data(), v.data(), kPrepareStore, 0};
  launch(flash_for(type_, static_cast<int>(s_.head_dim), 1).value(),
         {static_cast<uint32_t>(tiles.size()), s_.kv_heads, n_parts()}, flash);
  merge(flash.attention);
  check(pool_.values() == before, what + ": something was stored");
  for (const float x : out.values()) check(std::abs(x) <= 1, what, x);
  std::copy(list_.begin(), list_.end(), sequences_.data());
}

void Filled::prepare(const std::string& what) const {
  Random random(21);
  const uint32_t kv_width = s_.kv_heads * s_.head_dim;
  const Memory<float> q(q_), k(random.floats(size_t{rows_} * kv_width)), v(random.floats(size_t{rows_} * kv_width));
  const Memory<float> own_q(q_), own_k(k.values()), q_norm(random.floats(s_.head_dim)),
      k_norm(random.floats(s_.head_dim));
  const Memory<float> inv_freq(random.floats(s_.head_dim / 2)), out(q.size(), NAN), again(q.size(), NAN);
  const Memory<AttentionTile> tiles(make_tiles(1));
  const Grid grid{static_cast<uint32_t>(tiles.size()), s_.kv_heads, n_parts()};
  const KernelId kernel = flash_for(type_, static_cast<int>(s_.head_dim), 1).value();

  FlashArgs flash{args(q.data(), out.data()), tiles.data(), {}};
  flash.prepare = {q_norm.data(), k_norm.data(), inv_freq.data(),
                   k.data(),      v.data(),      kPrepareNorm | kPrepareRope | kPrepareStore,
                   1e-6f};
  launch(kernel, grid, flash);
  merge(flash.attention);
  const std::vector<uint8_t> stored = pool_.values();

  const uint32_t q_heads = rows_ * s_.heads, k_heads = rows_ * s_.kv_heads, dim = s_.head_dim;
  launch(KernelId::rms_norm, {divide_up(q_heads, kNormRows)},
         NormArgs{own_q.data(), q_norm.data(), nullptr, own_q.data(), q_heads, dim, 1e-6f, 0});
  launch(KernelId::rms_norm, {divide_up(k_heads, kNormRows)},
         NormArgs{own_k.data(), k_norm.data(), nullptr, own_k.data(), k_heads, dim, 1e-6f, 0});
  launch(KernelId::rope, {rows_}, RopeArgs{own_q.data(), positions_.data(), inv_freq.data(), s_.heads, dim});
  launch(KernelId::rope, {rows_}, RopeArgs{own_k.data(), positions_.data(), inv_freq.data(), s_.kv_heads, dim});
  // Over what is stored already, so that nothing is left of it.
  for (const float* key : {q.data(), own_k.data()})
    launch(for_kv_type(KernelId::store_kv_F32, type_), {rows_, s_.kv_heads},
           StoreKvArgs{key, v.data(), view(), 0, kLayer, s_.kv_heads, dim});
  check(stored == pool_.values(), what + ": other keys and values");
  flash = {args(own_q.data(), again.data()), tiles.data(), {}};
  launch(kernel, grid, flash);
  merge(flash.attention);
  check(out.values() == again.values(), what + ": other bits than prepared apart");
}

}  // namespace

void test_attention() {
  const std::vector<Lengths> several = {{1, 0, 5}, {4, 130, 0}, {2, 63, 64}, {20, 1, 200}, {1, 5, 65}};
  const std::vector<Setting> settings = {
      {.name = "both kinds of keys"},
      {.name = "several sequences", .sequences = several},
      {.name = "head_dim 2", .heads = 3, .kv_heads = 3, .head_dim = 2},
      {.name = "head_dim 72", .heads = 4, .kv_heads = 1, .head_dim = 72},
      {.name = "head_dim 256", .heads = 2, .kv_heads = 1, .head_dim = 256, .sequences = {{1, 300, 0}}},
      {.name = "soft cap", .sequences = several, .softcap = 2.5f},
      {.name = "own keys", .sequences = several, .segments = kSelfKeys},
      {.name = "source", .sequences = several, .segments = kSourceKeys},
  };
  std::vector<Setting> windows;
  for (const uint32_t width : {0u, 1u, 62u, 63u, 64u, 65u, 200u}) {
    windows.push_back({.name = "window of " + std::to_string(width), .sequences = {{3, 200, 10}}, .before = width});
    windows.push_back({.name = "encoder, window of " + std::to_string(width),
                       .sequences = {{70, 0, 0}},
                       .segments = kSelfKeys,
                       .before = width,
                       .after = width,
                       .part_chunks = kWholePartChunks});
  }
  const std::vector<Setting> decoders = {
      {.name = "several sequences", .sequences = {{3, 62, 5}, {1, 0, 0}, {1, 130, 70}, {8, 60, 10}}},
      {.name = "window", .head_dim = 72, .sequences = {{4, 200, 10}}, .before = 70},
      {.name = "head_dim 256", .heads = 4, .kv_heads = 1, .head_dim = 256, .sequences = {{2, 127, 3}}}};

  const char* names[] = {"f32 ", "f16 ", "bf16 ", "q8_0 "};
  const auto plain = [&](const Setting& setting, KvType type) {
    Filled(setting, type).attend(std::string("attention ") + names[static_cast<uint32_t>(type)] + setting.name);
  };
  const auto fragments = [&](const Setting& setting, KvType type, uint32_t tiles) {
    const std::string name = std::string("flash ") + names[static_cast<uint32_t>(type)] + setting.name;
    Filled(setting, type).attend_flash(name + ", tiles " + std::to_string(tiles), tiles);
  };
  for (uint32_t type = 0; type < 4; ++type) {
    for (const Setting& setting : settings) plain(setting, static_cast<KvType>(type));
  }
  for (const Setting& setting : windows) {
    plain(setting, KvType::kF32);
    fragments(setting, KvType::kF16, setting.part_chunks == kWholePartChunks ? 2 : 1);
  }
  // Fragments laid out as on CUDA, and as on Metal.
  for (const bool metal : {false, true}) {
    emulator::use_metal_fragments(metal);
    Filled(settings[1], KvType::kF16).beyond_the_end("rows beyond the end");
    for (const KvType type : {KvType::kF16, KvType::kBF16}) {
      for (const Setting& setting : settings) fragments(setting, type, metal == (type == KvType::kF16) ? 1 : 2);
      for (const Setting& setting : decoders) Filled(setting, type).prepare("prepare, " + setting.name);
    }
  }
}

}  // namespace t5g::gpu::test
