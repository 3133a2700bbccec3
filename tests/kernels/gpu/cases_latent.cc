// Latent sources: queries that are absorbed, the encoder's rows of every type looked at in parts, what was found
// weighed against a row's own keys, and the scales of keys.
#include <cstring>

#include "base/half.h"
#include "cases.h"

namespace t5g::gpu::test {
namespace {

constexpr double kLog2E = 1.4426950408889634;

// The encoder's rows as tensor/state_rows.h lays them out, and what they stand for.
class States {
 public:
  States(DataType type, size_t n, size_t width) : n_(n), width_(width), dense_(n * width), bytes_(n * row_bytes(type)) {
    Random random(31);
    for (size_t i = 0; i < n; ++i) {
      for (size_t d = 0; d < padded(); ++d) put(type, i, d, d < width ? random.uniform(-1, 1) : 0);
    }
  }
  const uint8_t* data() const { return bytes_.data(); }
  uint32_t row_bytes(DataType type) const {
    if (type == DataType::kF32) return static_cast<uint32_t>(4 * width_);
    return static_cast<uint32_t>(type == DataType::kF16 ? 2 * padded() : padded() + padded() / kBlock * 4);
  }
  const float* row(size_t i) const { return dense_.data() + i * width_; }

 private:
  size_t padded() const { return (width_ + kBlock - 1) / kBlock * kBlock; }
  void put(DataType type, size_t i, size_t d, float x) {
    uint8_t* row = bytes_.data() + i * row_bytes(type);
    if (type == DataType::kF32) {
      if (d < width_) std::memcpy(row + 4 * d, &x, 4);
    } else if (type == DataType::kF16) {
      const uint16_t half = float_to_half(x);
      std::memcpy(row + 2 * d, &half, 2);
      x = half_to_float(half);
    } else {
      const float scale = 0.01f * static_cast<float>(1 + d / kBlock);
      const auto byte = static_cast<int8_t>(std::lround(x / scale));
      std::memcpy(row + d, &byte, 1);
      std::memcpy(row + padded() + d / kBlock * 4, &scale, 4);
      x = scale * byte;
    }
    if (d < width_) dense_[i * width_ + d] = x;
  }

  const size_t n_, width_;
  Values dense_;
  Memory<uint8_t> bytes_;
};

// Row, and head, of a look.
struct Look {
  size_t row, head;
};
Look look_at(size_t i, size_t rows, size_t heads, size_t kv_heads) {
  const size_t share = heads / kv_heads, in_head = i % (rows * share);
  return {in_head / share, i / (rows * share) * share + in_head % share};
}

void test_absorb(DataType type) {
  constexpr uint32_t kRows = 3, kHeads = 6, kKvHeads = 2, kHeadDim = 10;
  const uint32_t width = is_quantized(type) ? 544 : 530, looks = kRows * kHeads;
  const PackedWeight k_proj(type, kKvHeads * kHeadDim, width, 3);
  Random random(5);
  const Memory<float> q(random.floats(looks * kHeadDim)), norm(random.floats(kHeadDim));
  for (const bool has_norm : {true, false}) {
    const Memory<float> out(size_t{looks} * width, NAN), alone(size_t{kHeads} * width, NAN);
    AbsorbArgs args{k_proj.weight(),
                    has_norm ? norm.data() : nullptr,
                    q.data(),
                    out.data(),
                    static_cast<uint32_t>(type),
                    has_norm ? 1u : 0u,
                    kRows,
                    kHeads,
                    kKvHeads,
                    kHeadDim};
    launch(KernelId::absorb, {divide_up(width, kAbsorbCols), divide_up(looks / kKvHeads, kLatentLooks), kKvHeads},
           args);
    double worst = 0;
    for (size_t i = 0; i < looks; ++i) {
      const auto [row, head] = look_at(i, kRows, kHeads, kKvHeads);
      for (size_t c = 0; c < width; ++c) {
        double sum = 0;
        for (size_t d = 0; d < kHeadDim; ++d) {
          const double x = double{q[(row * kHeads + head) * kHeadDim + d]} * (has_norm ? norm[d] : 1);
          sum += x * k_proj.row(head / (kHeads / kKvHeads) * kHeadDim + d)[c];
        }
        worst = std::max(worst, std::isnan(out[i * width + c]) ? HUGE_VAL : std::abs(out[i * width + c] - sum));
      }
    }
    const std::string what = "absorb " + type_name(type);
    check(worst <= 2e-6, what, worst);
    args.q += size_t{kRows - 1} * kHeads * kHeadDim;  // the last row
    args.absorbed = alone.data();
    args.rows = 1;
    launch(KernelId::absorb, {divide_up(width, kAbsorbCols), divide_up(kHeads / kKvHeads, kLatentLooks), kKvHeads},
           args);
    for (size_t i = 0; i < kHeads; ++i) {
      const size_t share = kHeads / kKvHeads, in_all = i / share * kRows * share + (kRows - 1) * share + i % share;
      const bool same = std::equal(&alone[i * width], &alone[i * width] + width, &out[in_all * width]);
      check(same, what + ": other bits alone");
    }
  }
}

struct Setting {
  std::string name;
  uint32_t looks = 5, kv_heads = 2, width = 72, n = 200, part_chunks = 1;
  float softcap = 0;
  bool has_scales = true;
};

void test_look(const Setting& s, DataType type) {
  const std::string what = "latent_attention " + type_name(type) + ", " + s.name;
  const States states(type, s.n, s.width);
  const uint32_t looks = s.looks * s.kv_heads, parts = divide_up(divide_up(s.n, kChunkKeys), s.part_chunks);
  Random random(7);
  const Memory<float> absorbed(random.floats(size_t{looks} * s.width)), scales(random.floats(size_t{s.kv_heads} * s.n));
  const auto look = [&](const float* of, uint32_t per_head) {
    const uint32_t all = per_head * s.kv_heads;
    const Memory<float> acc(size_t{parts} * all * s.width, NAN), state(size_t{2} * parts * all, NAN),
        out(size_t{all} * s.width, NAN);
    const LatentArgs args{of,
                          states.data(),
                          s.has_scales ? scales.data() : nullptr,
                          acc.data(),
                          state.data(),
                          s.n,
                          s.width,
                          states.row_bytes(type),
                          s.has_scales ? 1u : 0u,
                          per_head,
                          s.kv_heads,
                          s.part_chunks,
                          static_cast<float>(0.3 * kLog2E),
                          static_cast<float>(s.softcap * kLog2E),
                          0};
    launch(latent_attention_for(type), {divide_up(per_head, kLatentLooks), s.kv_heads, parts}, args);
    launch(KernelId::attention_merge, {divide_up(all, kMergeHeads)},
           AttentionMergeArgs{acc.data(), state.data(), out.data(), all, 1, s.width, parts});
    return out.values();
  };
  const Values found = look(absorbed.data(), s.looks);
  double worst = 0;
  for (size_t i = 0; i < looks; ++i) {
    std::vector<double> sum(s.width);
    double weights = 0;
    for (size_t t = 0; t < s.n; ++t) {
      double score = 0;
      for (size_t d = 0; d < s.width; ++d) score += double{absorbed[i * s.width + d]} * states.row(t)[d];
      score *= 0.3 * (s.has_scales ? scales[i / s.looks * s.n + t] : 1);
      if (s.softcap > 0) score = s.softcap * std::tanh(score / s.softcap);
      const double weight = std::exp(score);
      weights += weight;
      for (size_t d = 0; d < s.width; ++d) sum[d] += weight * states.row(t)[d];
    }
    for (size_t d = 0; d < s.width; ++d) {
      const float x = found[i * s.width + d];
      worst = std::max(worst, std::isnan(x) ? HUGE_VAL : std::abs(x - sum[d] / weights));
    }
  }
  check(worst <= 3e-6, what, worst);
  if (s.kv_heads > 1) return;
  const Values alone = look(absorbed.data() + size_t{s.looks - 1} * s.width, 1);
  check(std::equal(alone.begin(), alone.end(), found.end() - std::ssize(alone)), what + ": other bits alone");
}

// One row sees keys of its own in two parts, one in the second alone, one none.
void test_combine() {
  constexpr uint32_t kOwnRows = 5, kFirst = 2, kRows = 3, kHeads = 4, kKvHeads = 2, kHeadDim = 40, kParts = 3;
  constexpr uint32_t kLooks = kRows * kHeads;
  Random random(9);
  const Memory<float> own(random.floats(size_t{2} * 2 * kOwnRows * kHeads)), state(random.floats(2 * kParts * kLooks));
  for (Memory<float> const* states : {&own, &state}) {
    for (size_t i = 1; i < states->size(); i += 2) (*states)[i] = std::abs((*states)[i]);  // sums
  }
  const auto empty = [&](size_t part, size_t row) {
    for (size_t h = 0; h < kHeads; ++h) {
      float* at = &own[2 * ((part * kOwnRows + kFirst + row) * kHeads + h)];
      at[0] = -HUGE_VALF;
      at[1] = 0;
    }
  };
  empty(0, 1);
  empty(0, 2);
  empty(1, 2);
  const Memory<float> values(random.floats(size_t{kLooks} * kHeadDim)), out(random.floats(size_t{kLooks} * kHeadDim));
  const Values before = out.values();
  launch(KernelId::latent_combine, {kLooks},
         LatentCombineArgs{own.data(), state.data(), values.data(), out.data(), 2, kOwnRows, kFirst, kParts, kRows,
                           kHeads, kKvHeads, kHeadDim});
  double worst = 0;
  for (size_t i = 0; i < kLooks; ++i) {
    const auto [row, head] = look_at(i, kRows, kHeads, kKvHeads);
    double own_weight = 0, weight = 0;
    for (size_t p = 0; p < 2; ++p) {
      const float* at = &own[2 * ((p * kOwnRows + kFirst + row) * kHeads + head)];
      own_weight += std::exp2(double{at[0]}) * at[1];
    }
    for (size_t p = 0; p < kParts; ++p)
      weight += std::exp2(double{state[2 * (p * kLooks + i)]}) * state[2 * (p * kLooks + i) + 1];
    for (size_t d = 0; d < kHeadDim; ++d) {
      const size_t at = (row * kHeads + head) * kHeadDim + d;
      const double expected = (own_weight * before[at] + weight * values[i * kHeadDim + d]) / (own_weight + weight);
      worst = std::max(worst, std::isnan(out[at]) ? HUGE_VAL : std::abs(out[at] - expected));
    }
  }
  check(worst <= 2e-6, "latent_combine", worst);
}

void test_scales() {
  constexpr uint32_t kRows = 5, kFirst = 3, kN = 9, kKvHeads = 3, kHeadDim = 20;
  Random random(13);
  const Memory<float> k(random.floats(size_t{kRows} * kKvHeads * kHeadDim)), scales(size_t{kKvHeads} * kN, 7.0f);
  launch(KernelId::scale_latent, {divide_up(kRows * kKvHeads, kNormRows)},
         LatentScaleArgs{k.data(), scales.data(), kRows, kFirst, kN, kKvHeads, kHeadDim, 1e-6f});
  for (size_t h = 0; h < kKvHeads; ++h) {
    for (size_t i = 0; i < kN; ++i) {
      double expected = 7;
      if (i >= kFirst && i < kFirst + kRows) {
        double squares = 0;
        for (size_t d = 0; d < kHeadDim; ++d)
          squares += std::pow(double{k[((i - kFirst) * kKvHeads + h) * kHeadDim + d]}, 2);
        expected = 1 / std::sqrt(squares / kHeadDim + 1e-6);
      }
      const double error = std::abs(scales[h * kN + i] - expected);
      check(error <= 1e-6 * expected, "scale_latent", error);
    }
  }
}

}  // namespace

void test_latent() {
  for (const DataType type : all_types()) test_absorb(type);
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kQ8_0}) {
    test_look({.name = "parts"}, type);
    test_look({.name = "one key", .looks = 1, .kv_heads = 1, .n = 1}, type);
    test_look({.name = "parts of two chunks, soft cap",
               .kv_heads = 1,
               .width = 130,
               .n = 321,
               .part_chunks = 2,
               .softcap = 1.5f},
              type);
    test_look({.name = "without scales", .looks = 9, .kv_heads = 1, .n = 64, .has_scales = false}, type);
  }
  test_combine();
  test_scales();
}

}  // namespace t5g::gpu::test
