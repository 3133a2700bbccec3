// The calls of kernels_selftest: sizes that leave tails, every type, one row and many.
#include "kernel_cases.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/cpu/int8_keys.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/planes.h"

namespace {

namespace kernels = t5g::kernels;
using kernels::KernelTable;
using t5g::DataType;

constexpr DataType kKvTypes[] = {DataType::kF32, DataType::kF16, DataType::kBF16, DataType::kQ8_0};

std::string size_text(const char* name, int64_t n) { return std::string(" ") + name + "=" + std::to_string(n); }

int64_t groups_of(int64_t n) { return (n + kernels::kGroupRows - 1) / kernels::kGroupRows; }

// Random blocks whose scales are tame; the values behind them are any bits.
std::vector<uint8_t> random_rows(DataType type, int64_t n, int64_t k, Random& random) {
  if (type == DataType::kF32) {
    Result rows;
    append(rows, random.floats(static_cast<size_t>(n * k)));
    return rows;
  }
  auto rows = random.integers<uint8_t>(static_cast<size_t>(n) * t5g::row_bytes(type, k));
  const auto block = static_cast<size_t>(t5g::info(type).block_bytes);
  // Highest byte of every 16-bit number that is a value, scale or minimum: an exponent near 0.
  const auto halves = t5g::is_quantized(type) ? (t5g::type_name(type).back() == '1' ? 2u : 1u) : 1u;
  for (size_t i = 0; i < rows.size(); i += block) {
    for (size_t h = 0; h < halves; ++h) {
      uint8_t& high = rows[i + 2 * h + 1];
      high = static_cast<uint8_t>((high & 0x83u) | (type == DataType::kBF16 ? 0x3cu : 0x2cu));
    }
  }
  return rows;
}

// Rows of activations [m, k], quantised and rounded.
struct Activations {
  Activations(const KernelTable& table, int64_t m, int64_t k, Random& random)
      : x(random.floats(static_cast<size_t>(m * k), 5.0f)),
        values(x.size()),
        scales(static_cast<size_t>(m * (k / kernels::kBlock))),
        sums(scales.size()),
        rounded(static_cast<size_t>(m * kernels::padded_to_pairs(k))) {
    const int64_t n_blocks = k / kernels::kBlock;
    for (int64_t i = 0; i < m; ++i) {
      table.quantize_row(x.data() + i * k, n_blocks * kernels::kBlock, values.data() + i * k,
                         scales.data() + i * n_blocks, sums.data() + i * n_blocks);
      table.round_row(x.data() + i * k, k, rounded.data() + i * kernels::padded_to_pairs(k));
    }
  }
  kernels::QuantizedRows quantized() const { return {values.data(), scales.data(), sums.data()}; }

  std::vector<float> x;
  std::vector<int8_t> values;
  std::vector<float> scales;
  std::vector<int32_t> sums;
  std::vector<uint16_t> rounded;
};

Result matmul(const KernelTable& table, DataType type, int64_t m, int64_t n, int64_t k) {
  Random random(m * 1000 + n * 10 + k);
  const std::vector<uint8_t> rows = random_rows(type, n, k, random);
  const size_t group_bytes = kernels::packed_group_bytes(type, k);
  std::vector<std::byte> packed(static_cast<size_t>(groups_of(n)) * group_bytes);
  for (int64_t g = 0; g < groups_of(n); ++g) {
    kernels::pack_group(type, reinterpret_cast<const std::byte*>(rows.data()), n, k, g,
                        packed.data() + static_cast<size_t>(g) * group_bytes);
  }
  const Activations input(table, m, k, random);
  std::vector<float> y(static_cast<size_t>(m * n)), added(y.size(), 1.0f);
  const std::vector<float> bias = random.floats(static_cast<size_t>(n));
  kernels::MatmulArgs args = {};
  args.weight = packed.data();
  args.group_end = groups_of(n);
  args.n = n;
  args.k = k;
  args.m = m;
  args.x = input.x.data();
  args.x_bf16 = input.rounded.data();
  args.x_q = input.quantized();
  args.y = y.data();
  args.ldy = n;
  table.matmul[static_cast<size_t>(type)](args);
  args.y = added.data();
  args.bias = bias.data();
  args.add = true;
  table.matmul[static_cast<size_t>(type)](args);
  Result result;
  append(result, y);
  append(result, added);
  return result;
}

// A Q8_0 matrix in two planes, and activations that meet it.
struct PlanesInput {
  PlanesInput(const KernelTable& table, int64_t m, int64_t n, int64_t k)
      : random(n + k + m),
        rows(random_rows(DataType::kQ8_0, n, k, random)),
        coarse(static_cast<size_t>(groups_of(n)) * kernels::coarse_group_bytes(k)),
        fine(static_cast<size_t>(groups_of(n)) * kernels::fine_group_bytes(k)),
        norms(static_cast<size_t>(groups_of(n)) * kernels::norm_group_bytes(k)),
        x(table, m, k, random) {
    for (int64_t g = 0; g < groups_of(n); ++g) {
      kernels::pack_planes(reinterpret_cast<const std::byte*>(rows.data()), n, k, g, coarse.data(), fine.data(),
                           norms.data());
    }
    weight = {coarse.data(), fine.data(), norms.data(), n, k};
  }

  Random random;
  std::vector<uint8_t> rows;
  std::vector<std::byte> coarse, fine;
  std::vector<uint8_t> norms;
  Activations x;
  kernels::Planes weight;
};

// With every third block exact.
Result bound_groups(const KernelTable& table, int64_t m, int64_t n, int64_t k) {
  const PlanesInput input(table, m, n, k);
  std::vector<float> norms(input.x.scales.size()), offsets(norms.size());
  kernels::measure_plane_input(input.x.quantized(), m, k, norms.data(), offsets.data());
  std::vector<uint8_t> exact(static_cast<size_t>(k / kernels::kBlock));
  for (size_t b = 0; b < exact.size(); b += 3) exact[b] = 1;
  const int64_t n_rows = groups_of(n) * kernels::kGroupRows;
  std::vector<float> bounds(static_cast<size_t>(m * n_rows)), group_bounds(static_cast<size_t>(m * groups_of(n)));
  kernels::BoundArgs args = {};
  args.weight = input.weight;
  args.group_end = groups_of(n);
  args.m = m;
  args.x = {input.x.quantized(), norms.data(), offsets.data()};
  args.exact = exact.data();
  args.bounds = bounds.data();
  args.ldb = n_rows;
  args.group_bounds = group_bounds.data();
  args.ldg = groups_of(n);
  table.bound_groups(args);
  Result result;
  append(result, bounds);
  append(result, group_bounds);
  return result;
}

// Of every second group, the last one first.
Result score_groups(const KernelTable& table, int64_t m, int64_t n, int64_t k) {
  const PlanesInput input(table, m, n, k);
  std::vector<int32_t> chosen;
  for (int64_t g = groups_of(n) - 1; g >= 0; g -= 2) chosen.push_back(static_cast<int32_t>(g));
  const auto n_chosen = static_cast<int64_t>(chosen.size()), ldy = n_chosen * kernels::kGroupRows;
  std::vector<float> scores(static_cast<size_t>(m * ldy));
  table.score_groups({input.weight, chosen.data(), n_chosen, m, input.x.quantized(), scores.data(), ldy});
  Result result;
  append(result, scores);
  return result;
}

Result prepare_query(const KernelTable& table, DataType type, int head_dim) {
  Random random(head_dim);
  std::vector<float> out(static_cast<size_t>(head_dim));
  table.kv[static_cast<size_t>(type)].prepare_query(random.floats(out.size()).data(), 0.7f, head_dim, out.data());
  Result result;
  append(result, out);
  return result;
}

// Chunks of random keys and values. int8: of BF16, with keys of int8 (see kernels/cpu/int8_keys.h).
std::vector<std::byte> stored_chunks(const KernelTable& table, DataType type, int n_chunks, int head_dim,
                                     Random& random, bool int8 = false) {
  const size_t size = static_cast<size_t>(n_chunks * kernels::kChunkKeys) * static_cast<size_t>(head_dim);
  const std::vector<float> keys = random.floats(size, 2.0f), values = random.floats(size);
  const size_t chunk_bytes = kernels::kv_head_bytes(type, head_dim);
  std::vector<std::byte> stored(static_cast<size_t>(n_chunks) * chunk_bytes);
  for (int i = 0; i < n_chunks * kernels::kChunkKeys; ++i) {
    const float *key = keys.data() + i * head_dim, *value = values.data() + i * head_dim;
    std::byte* chunk = stored.data() + static_cast<size_t>(i / kernels::kChunkKeys) * chunk_bytes;
    const int slot = i % kernels::kChunkKeys;
    int8 ? kernels::store_int8_token(table, key, value, head_dim, slot, chunk)
         : table.kv[static_cast<size_t>(type)].store_token(key, value, head_dim, slot, chunk);
  }
  return stored;
}

Result store_token(const KernelTable& table, DataType type, int head_dim) {
  Random random(head_dim);
  Result result;
  append(result, stored_chunks(table, type, 1, head_dim, random));
  return result;
}

Result attend(const KernelTable& table, DataType type, int n_rows, int head_dim, float softcap, bool int8 = false) {
  Random random(n_rows * 1000 + head_dim);
  const auto rows = static_cast<size_t>(n_rows);
  const int n_chunks = std::min(3, kernels::chunks_per_part(type)), n_keys = n_chunks * kernels::kChunkKeys;
  const std::vector<std::byte> stored = stored_chunks(table, type, n_chunks, head_dim, random, int8);
  std::vector<const std::byte*> chunks;
  for (size_t i = 0; i < static_cast<size_t>(n_chunks); ++i)
    chunks.push_back(stored.data() + i * kernels::kv_head_bytes(type, head_dim));
  const std::vector<float> q = random.floats(rows * static_cast<size_t>(head_dim));
  std::vector<float> prepared(q.size());
  std::vector<const float*> q_rows;
  std::vector<int32_t> begin, end;
  for (int r = 0; r < n_rows; ++r) {
    q_rows.push_back(prepared.data() + r * head_dim);
    float* out = prepared.data() + r * head_dim;
    int8 ? kernels::prepare_int8_query(table, q.data() + r * head_dim, 0.7f, head_dim, out)
         : table.kv[static_cast<size_t>(type)].prepare_query(q.data() + r * head_dim, 0.7f, head_dim, out);
    begin.push_back(random.below(n_keys) - 5);
    end.push_back(random.below(n_keys + 6));
  }
  std::vector<float> max(rows), sum(rows), acc(rows * static_cast<size_t>(kernels::acc_stride(head_dim)));
  std::vector<float> scratch(kernels::attend_scratch(type, head_dim));
  kernels::AttendArgs args = {};
  args.q = q_rows.data();
  args.rows = n_rows;
  args.head_dim = head_dim;
  args.chunks = chunks.data();
  args.n_keys = n_keys;
  args.begin = begin.data();
  args.end = end.data();
  args.softcap = softcap;
  if (int8) args.multiply_int8 = table.matmul[static_cast<size_t>(DataType::kQ8_0)];
  args.max = max.data();
  args.sum = sum.data();
  args.acc = acc.data();
  args.scratch = scratch.data();
  table.kv[static_cast<size_t>(type)].attend(args);
  Result result;
  for (const auto* part : {&max, &sum, &acc}) append(result, *part);
  return result;
}

// Rows as tensor/state_rows.h lays them out, scaled keys.
Result attend_latent(const KernelTable& table, DataType type, int n_rows, int n_keys, float softcap) {
  constexpr int kSize = 72, kPadded = 96, kStride = 80;
  Random random(n_rows * 1000 + n_keys);
  const auto rows = static_cast<size_t>(n_rows), keys = static_cast<size_t>(n_keys);
  std::vector<uint8_t> stored;
  for (size_t i = 0; i < keys; ++i) {
    if (type == DataType::kF32) append(stored, random.floats(kSize));
    if (type == DataType::kF16) {
      std::vector<uint16_t> halves(kPadded);
      for (size_t d = 0; d < kSize; ++d)
        halves[d] = static_cast<uint16_t>(random.below(0x3c00) | random.below(2) << 15);
      append(stored, halves);
    }
    if (type == DataType::kQ8_0) {
      append(stored, random.integers<int8_t>(kPadded));
      append(stored, random.floats(kPadded / 32, 0.01f));
    }
  }
  std::vector<std::vector<float>> q, scales;
  std::vector<const float*> q_rows, scale_rows;
  for (size_t r = 0; r < rows; ++r) {
    q.push_back(random.floats(kSize));
    q.back().resize(kStride);
    scales.push_back(random.floats(keys));
  }
  for (size_t r = 0; r < rows; ++r) {
    q_rows.push_back(q[r].data());
    scale_rows.push_back(scales[r].data());
  }
  std::vector<float> max(rows), sum(rows), acc(rows * kStride);
  kernels::AttendLatentArgs args = {};
  args.type = type;
  args.hidden_size = kSize;
  args.row_bytes = static_cast<int64_t>(stored.size() / keys);
  args.keys = reinterpret_cast<const std::byte*>(stored.data());
  args.n_keys = n_keys;
  args.q = q_rows.data();
  args.scales = scale_rows.data();
  args.rows = n_rows;
  args.softcap = softcap;
  args.max = max.data();
  args.sum = sum.data();
  args.acc = acc.data();
  table.attend_latent(args);
  Result result;
  for (const auto* part : {&max, &sum, &acc}) append(result, *part);
  return result;
}

// Every third row of the state is empty, and every fourth of the part.
Result merge(const KernelTable& table, int n_rows, int head_dim) {
  Random random(n_rows * 1000 + head_dim);
  const auto rows = static_cast<size_t>(n_rows), size = rows * static_cast<size_t>(kernels::acc_stride(head_dim));
  std::vector<float> max = random.floats(rows, 9.0f), sum = random.floats(rows), acc = random.floats(size);
  std::vector<float> part_max = random.floats(rows, 9.0f), part_sum = random.floats(rows);
  const std::vector<float> part_acc = random.floats(size);
  for (size_t r = 0; r < rows; r += 3) max[r] = -std::numeric_limits<float>::infinity();
  for (size_t r = 0; r < rows; r += 4) part_max[r] = -std::numeric_limits<float>::infinity();
  table.merge(
      {n_rows, head_dim, max.data(), sum.data(), acc.data(), part_max.data(), part_sum.data(), part_acc.data()});
  Result result;
  for (const auto* part : {&max, &sum, &acc}) append(result, *part);
  return result;
}

using PlanesResult = Result (*)(const KernelTable&, int64_t, int64_t, int64_t);
std::vector<Case> planes_cases(const char* name, PlanesResult run) {
  std::vector<Case> cases;
  for (const int m : {1, 2, 3, 7, 8, 13}) {
    for (const auto& [n, k] : {std::pair{1, 32}, {85, 384}}) {
      cases.push_back({name + size_text("m", m) + size_text("n", n) + size_text("k", k),
                       [=](const KernelTable& table) { return run(table, m, n, k); }});
    }
  }
  return cases;
}

std::vector<Case> kv_cases(const std::string& name, Result (*run)(const KernelTable&, DataType, int)) {
  std::vector<Case> cases;
  for (const DataType type : kKvTypes) {
    for (const int head_dim : {2, 4, 12, 15, 32, 72, 256}) {
      cases.push_back({name + " " + t5g::type_name(type) + size_text("head_dim", head_dim),
                       [=](const KernelTable& table) { return run(table, type, head_dim); }});
    }
  }
  return cases;
}

}  // namespace

std::vector<Case> matmul_cases() {
  std::vector<Case> cases;
  for (int t = 0; t < t5g::kNumDataTypes; ++t) {
    const auto type = static_cast<DataType>(t);
    for (const int m : {0, 1, 2, 3, 7, 13, 22, 139}) {
      for (const auto& [n, k] : {std::pair{1, 32}, {16, 64}, {85, 160}, {17, 1056}}) {
        cases.push_back({"matmul " + t5g::type_name(type) + size_text("m", m) + size_text("n", n) + size_text("k", k),
                         [=](const KernelTable& table) { return matmul(table, type, m, n, k); }});
      }
    }
  }
  return cases;
}

std::vector<Case> bound_groups_cases() { return planes_cases("bound_groups", &bound_groups); }
std::vector<Case> score_groups_cases() { return planes_cases("score_groups", &score_groups); }
std::vector<Case> prepare_query_cases() { return kv_cases("prepare_query", &prepare_query); }
std::vector<Case> store_token_cases() { return kv_cases("store_token", &store_token); }

std::vector<Case> attend_cases() {
  std::vector<Case> cases;
  for (const DataType type : kKvTypes) {
    for (const int rows : {1, 4, 9, 64}) {
      for (const int head_dim : {4, 12, 15, 32, 72, 256}) {
        for (const float softcap : {0.0f, 3.0f}) {
          cases.push_back({"attend " + t5g::type_name(type) + size_text("rows", rows) +
                               size_text("head_dim", head_dim) + (softcap > 0 ? " softcap" : ""),
                           [=](const KernelTable& table) { return attend(table, type, rows, head_dim, softcap); }});
        }
      }
    }
  }
  for (const int rows : {1, 9, 64}) {
    for (const int head_dim : {32, 72, 256}) {
      cases.push_back(
          {"attend int8" + size_text("rows", rows) + size_text("head_dim", head_dim),
           [=](const KernelTable& table) { return attend(table, DataType::kBF16, rows, head_dim, 0, true); }});
    }
  }
  return cases;
}

std::vector<Case> attend_latent_cases() {
  std::vector<Case> cases;
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kQ8_0}) {
    for (const int rows : {1, 2, 4, 7, 70}) {
      for (const int keys : {1, 15, 64}) {
        for (const float softcap : {0.0f, 3.0f}) {
          cases.push_back({"attend_latent " + t5g::type_name(type) + size_text("rows", rows) + size_text("keys", keys) +
                               (softcap > 0 ? " softcap" : ""),
                           [=](const KernelTable& table) { return attend_latent(table, type, rows, keys, softcap); }});
        }
      }
    }
  }
  return cases;
}

std::vector<Case> merge_cases() {
  std::vector<Case> cases;
  for (const int rows : {1, 4, 9, 35}) {
    for (const int head_dim : {4, 15, 72}) {
      cases.push_back({"merge" + size_text("rows", rows) + size_text("head_dim", head_dim),
                       [=](const KernelTable& table) { return merge(table, rows, head_dim); }});
    }
  }
  return cases;
}
