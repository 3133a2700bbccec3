// Linear layers of every type.
#include "base/half.h"
#include "cases.h"

namespace t5g::gpu::test {
namespace {

struct Exact {
  double sum, size;  // size: of the sum of absolute values, which rounding errors are relative to
};
Exact product(const float* a, const float* b, size_t n) {
  Exact exact{0, 0};
  for (size_t i = 0; i < n; ++i) {
    exact.sum += double{a[i]} * b[i];
    exact.size += std::abs(double{a[i]} * b[i]);
  }
  return exact;
}

// ---- matmul ----

void test_matmul(DataType type, uint32_t m, uint32_t k) {
  const uint32_t n[] = {66, 1};
  const std::string what =
      std::string("matmul ") + std::string(t5g::info(type).name) + " " + std::to_string(m) + " x " + std::to_string(k);
  // Beside these, values are rounded to bfloat16.
  const bool is_exact = type == DataType::kF32 || type == DataType::kF16;
  const auto rounded = [&](float v) { return is_exact ? v : bfloat16_to_float(float_to_bfloat16(v)); };
  Random random(m + k);
  const Memory<float> x(random.floats(size_t{m} * k)), bias(random.floats(66));
  const PackedWeight weights[] = {{type, n[0], k, 1}, {type, n[1], k, 2}};
  const Values before = random.floats(m);
  const Memory<float> out[] = {Memory<float>(size_t{m} * n[0]), Memory<float>(before)};
  LinearArgs args{x.data(), m, k, 2, 0, {}};
  args.projections[0] = {weights[0].weight(), bias.data(), out[0].data(), kHasBias, 0};
  args.projections[1] = {weights[1].weight(), nullptr, out[1].data(), kAddsOut, 2};
  launch(for_type(KernelId::matmul_F32, type), {3, divide_up(m, kMatmulRows)}, args);
  for (size_t p = 0; p < 2; ++p) {
    for (size_t i = 0; i < m; ++i) {
      for (size_t j = 0; j < n[p]; ++j) {
        double sum = p == 0 ? bias[j] : before[i], size = 1;
        for (size_t c = 0; c < k; ++c) {
          const double product = double{rounded(weights[p].row(j)[c])} * rounded(x[i * k + c]);
          sum += product;
          size += std::abs(product);
        }
        const double error = std::abs(out[p][i * n[p] + j] - sum);
        check(error <= 2e-6 * size, what, error);
      }
    }
  }
  const Memory<float> alone(size_t{n[0]});
  LinearArgs last{x.data() + size_t{m - 1} * k, 1, k, 1, 0, {}};
  last.projections[0] = {weights[0].weight(), bias.data(), alone.data(), kHasBias, 0};
  launch(for_type(KernelId::matmul_F32, type), {2, 1}, last);
  for (size_t j = 0; j < n[0]; ++j) check(alone[j] == out[0][size_t{m - 1} * n[0] + j], what + ": other bits alone");
}

// ---- matvec ----

// What quantising a row does to it.
Values as_int8(const Values& row) {
  Values out(row.size());
  for (size_t at = 0; at < row.size(); at += kBlock) {
    const size_t end = std::min(at + kBlock, row.size());
    float largest = 0;
    for (size_t i = at; i < end; ++i) largest = std::max(largest, std::abs(row[i]));
    const float inverse = largest > 0 ? 127 / largest : 0;
    for (size_t i = at; i < end; ++i)
      out[i] = std::trunc(row[i] * inverse + std::copysign(0.5f, row[i])) * (largest * (1.0f / 127));
  }
  return out;
}

// Inputs of all kinds, made by the plain kernels one after the other.
struct Input {
  Input(uint32_t kind, uint32_t m, uint32_t k, uint32_t seed);
  MatvecInput args() const {
    return {kind == kFromParts ? acc.data() : x.data(),
            weight.data(),
            kind == kFromParts ? state.data() : added.data(),
            added_weight.data(),
            x_out.data(),
            kind,
            1e-6f,
            head_dim,
            kParts};
  }
  Values row(size_t i) const { return {h.data() + i * k, h.data() + (i + 1) * k}; }

  static constexpr uint32_t kParts = 3;
  const uint32_t kind, k, head_dim;
  Memory<float> x, weight, added, added_weight, x_out, acc, state;
  Memory<float> h, y;  // expected
};

Input::Input(uint32_t of_kind, uint32_t m, uint32_t cols, uint32_t seed)
    : kind(of_kind),
      k(cols),
      head_dim(cols % 8 == 0 ? cols / 8 : cols),
      x(Random(seed).floats(size_t{m} * k, 3)),
      weight(Random(seed + 1).floats(k)),
      added(Random(seed + 2).floats(size_t{m} * k)),
      added_weight(Random(seed + 3).floats(k)),
      x_out(size_t{m} * k, NAN),
      acc(Random(seed + 4).floats(size_t{m} * k * kParts)),
      state(Random(seed + 5).floats(size_t{m} * k / head_dim * 2 * kParts)),
      h(x.values()),
      y(x.values()) {
  const Grid grid{divide_up(m, kNormRows)};
  for (size_t i = 1; i < state.size(); i += 2) state[i] += 2;
  // One part in which a head has seen no key.
  state[0] = -HUGE_VALF;
  state[1] = 0;
  std::fill_n(acc.data(), head_dim, 0.0f);
  if (kind == kFromSum)
    launch(KernelId::add_rms_norm, grid,
           NormArgs{added.data(), added_weight.data(), nullptr, y.data(), m, k, 1e-6f, 0});
  if (kind == kFromSum || kind == kFromNorm)
    launch(KernelId::rms_norm, grid, NormArgs{y.data(), weight.data(), nullptr, h.data(), m, k, 1e-6f, 0});
  if (kind == kFromParts)
    launch(KernelId::attention_merge, {divide_up(uint64_t{m} * k / head_dim, 4)},
           AttentionMergeArgs{acc.data(), state.data(), h.data(), m, k / head_dim, head_dim, kParts});
}

MatvecArgs matvec_args(const Input& input, uint32_t m, uint32_t finish) {
  return {input.args(), m, input.k, 1, finish, 1, 0, {}, nullptr, {}};
}

// The same bits with every number of rows of a group.
std::vector<Values> with_all_rows(DataType type, const MatvecArgs& args, Grid grid, const Memory<float>& out,
                                  const Values& before) {
  std::vector<Values> found;
  for (const uint32_t rows : {1u, 8u}) {
    std::copy(before.begin(), before.end(), out.data());
    grid.y = divide_up(args.m, rows);
    launch(matvec_for(type, rows), grid, args);
    found.push_back(out.values());
  }
  return found;
}

void test_matvec(DataType type, uint32_t kind, uint32_t m, uint32_t k) {
  const std::string what = std::string("matvec ") + std::string(t5g::info(type).name) + " of kind " +
                           std::to_string(kind) + " " + std::to_string(m) + " x " + std::to_string(k);
  const Input input(kind, m, k, m + k);
  const uint32_t n[] = {33, 5};
  const PackedWeight weights[] = {{type, n[0], k, 1}, {type, n[1], k, 2}};
  const Memory<float> bias(Random(1).floats(n[1])), first(size_t{m} * n[0]), second(size_t{m} * n[1]);
  MatvecArgs args = matvec_args(input, m, kStore);
  args.n_projections = 2;
  args.projections[0] = {weights[0].weight(), nullptr, first.data(), 0, 0};
  args.projections[1] = {weights[1].weight(), bias.data(), second.data(), kHasBias | kAddsOut, 3};
  const Values before = Random(9).floats(second.size());
  const std::vector<Values> found = with_all_rows(type, args, {4}, second, before);
  for (const Values& values : found) check(values == found[0], what + ": other bits with more rows");
  for (size_t i = 0; i < m; ++i) {
    const Values h = is_quantized(type) ? as_int8(input.row(i)) : input.row(i);
    for (size_t p = 0; p < 2; ++p) {
      for (size_t j = 0; j < n[p]; ++j) {
        Exact exact = product(h.data(), weights[p].row(j), k);
        if (p == 1) exact.sum += double{bias[j]} + before[i * n[1] + j];
        const double error = std::abs((p == 0 ? first : second)[i * n[p] + j] - exact.sum);
        check(error <= 1e-6 * (exact.size + 1), what, error);
      }
    }
  }
  if (kind == kFromSum) check(input.x_out.values() == input.y.values(), what + ": other bits of x + norm(added)");
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

void test_geglu(DataType type, uint32_t m, uint32_t k) {
  const std::string what = std::string("geglu matvec ") + std::string(t5g::info(type).name);
  const Input input(kFromNorm, m, k, 3);
  const uint32_t n = 21;
  const PackedWeight gate(type, n, k, 1), up(type, n, k, 2);
  const Memory<float> out(size_t{m} * n);
  MatvecArgs args = matvec_args(input, m, kGeglu);
  args.projections[0] = {gate.weight(), nullptr, out.data(), 0, 0};
  args.projections[1] = {up.weight(), nullptr, nullptr, 0, 0};
  const std::vector<Values> found = with_all_rows(type, args, {divide_up(n, kMatvecPairs)}, out, out.values());
  for (const Values& values : found) check(values == found[0], what + ": other bits with more rows");
  for (size_t i = 0; i < m; ++i) {
    const Values h = is_quantized(type) ? as_int8(input.row(i)) : input.row(i);
    for (size_t j = 0; j < n; ++j) {
      const Exact g = product(h.data(), gate.row(j), k), u = product(h.data(), up.row(j), k);
      const double error = std::abs(out[i * n + j] - gelu(g.sum) * u.sum);
      check(error <= 1e-5 * (g.size + 1) * (u.size + 1), what, error);
    }
  }
}

// The best is that of the stored outputs.
void test_best(DataType type, uint32_t m, uint32_t vocab, float cap) {
  const std::string what = std::string("best of matvec ") + std::string(t5g::info(type).name);
  const Input input(kFromNorm, m, 64, 4);
  const PackedWeight head(type, vocab, 64, 1);
  const Memory<float> logits(size_t{m} * vocab);
  MatvecArgs args = matvec_args(input, m, kStore);
  args.projections[0] = {head.weight(), nullptr, logits.data(), 0, 0};
  launch(matvec_for(type, matvec_rows(m)), {divide_up(vocab, kMatvecCols), divide_up(m, matvec_rows(m))}, args);
  if (cap > 0) {
    const size_t size = logits.size();
    launch(KernelId::softcap, {divide_up(size, kElementsPerGroup)},
           ElementArgs{logits.data(), nullptr, size, vocab, cap});
  }
  std::vector<int32_t> apart;
  std::vector<uint32_t> starts = {0};
  for (size_t i = 0; i < m; ++i) {
    const float* row = logits.data() + i * vocab;
    if (i != 1) apart.push_back(static_cast<int32_t>(std::max_element(row, row + vocab) - row));
    starts.push_back(static_cast<uint32_t>(apart.size()));
  }
  const uint32_t groups = 3;
  const Memory<int32_t> ids(apart);
  const Memory<uint32_t> first(starts), less(m);
  const Memory<Scored> found(size_t{m} * groups), best(m);
  args.finish = kBest;
  args.groups = groups;
  args.softcap = cap;
  args.apart = {ids.data(), first.data()};
  args.found = found.data();
  const SelectArgs merge{nullptr, args.apart,  nullptr, found.data(), best.data(), nullptr,
                         nullptr, less.data(), vocab,   groups,       1,           m};
  for (const uint32_t rows : {1u, 8u}) {
    launch(matvec_for(type, rows), {groups, divide_up(m, rows)}, args);
    launch(KernelId::best_merge, {m}, merge);
    for (size_t i = 0; i < m; ++i) {
      const float* row = logits.data() + i * vocab;
      Scored want{-HUGE_VALF, -1};
      for (uint32_t j = 0; j < vocab; ++j) {
        const auto id = static_cast<int32_t>(j);
        const bool is_apart = std::find(&ids[starts[i]], ids.data() + starts[i + 1], id) != ids.data() + starts[i + 1];
        if (!is_apart && row[j] > want.value) want = {row[j], id};
      }
      check(best[i].id == want.id && best[i].value == want.value, what, want.value - best[i].value);
    }
  }
}

}  // namespace

void test_matvecs() {
  for (const DataType type : all_types()) {
    for (const uint32_t kind : {kFromRows, kFromNorm, kFromSum, kFromParts}) {
      test_matvec(type, kind, 5, 640);
      if (!is_quantized(type)) test_matvec(type, kind, 1, 75);
    }
    test_matvec(type, kFromRows, 9, 2080);  // more than one piece with eight rows
    test_matvec(type, kFromNorm, 1, 32);
    test_geglu(type, 5, 96);
    test_best(type, 9, 70, 0);
    test_best(type, 2, 200, 3);
  }
}

void test_matmuls() {
  for (const DataType type : all_types()) {
    // Fragments laid out as on CUDA, and as on Metal.
    for (const bool metal : {false, true}) {
      emulator::use_metal_fragments(metal);
      for (const auto& [m, k] : {std::pair{1u, 32u}, {67u, 96u}}) test_matmul(type, m, k);
      if (!is_quantized(type)) test_matmul(type, 3, 75);
    }
  }
}

}  // namespace t5g::gpu::test
