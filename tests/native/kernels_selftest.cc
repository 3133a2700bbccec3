// Every level that this CPU can run, or that can be emulated, against the portable one, on seeded random data: all
// results must have the same bits, for every op and type and for sizes that leave tails. Plain C++, so that it also
// runs cross-built in an emulator. Usage: kernels_selftest [LEVEL ...], where each LEVEL must be one that runs here.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "emulated_levels.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/planes.h"

namespace {

using t5g::DataType;
using t5g::kernels::KernelTable;
using Result = std::vector<uint8_t>;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  std::vector<float> floats(size_t n, float scale = 1.0f) {
    std::vector<float> values(n);
    for (float& v : values) v = scale * (static_cast<float>(engine_() >> 8) * 0x1p-23f - 1.0f);
    return values;
  }
  std::vector<uint8_t> bytes(size_t n) {
    std::vector<uint8_t> values(n);
    for (uint8_t& v : values) v = static_cast<uint8_t>(engine_() >> 24);
    return values;
  }
  int below(int n) { return static_cast<int>(engine_() % static_cast<uint32_t>(n)); }

 private:
  std::mt19937 engine_;  // the same numbers on every platform
};

template <typename T>
void append(Result& result, const std::vector<T>& values) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  result.insert(result.end(), bytes, bytes + values.size() * sizeof(T));
}
template <typename T>
void append(Result& result, T value) {
  append(result, std::vector<T>{value});
}

// Random blocks whose scales are tame; the values behind them are any bits.
std::vector<uint8_t> random_rows(DataType type, int64_t n, int64_t k, Random& random) {
  if (type == DataType::kF32) {
    Result rows;
    append(rows, random.floats(static_cast<size_t>(n * k)));
    return rows;
  }
  std::vector<uint8_t> rows = random.bytes(static_cast<size_t>(n) * t5g::row_bytes(type, k));
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

Result matmul(const KernelTable& table, DataType type, int64_t m, int64_t n, int64_t k) {
  Random random(static_cast<uint32_t>(m * 1000 + n * 10 + k));
  const int64_t n_groups = (n + t5g::kernels::kGroupRows - 1) / t5g::kernels::kGroupRows, n_blocks = k / 32;
  const std::vector<uint8_t> rows = random_rows(type, n, k, random);
  const size_t group_bytes = t5g::kernels::packed_group_bytes(type, k);
  std::vector<std::byte> packed(static_cast<size_t>(n_groups) * group_bytes);
  for (int64_t g = 0; g < n_groups; ++g) {
    t5g::kernels::pack_group(type, reinterpret_cast<const std::byte*>(rows.data()), n, k, g,
                             packed.data() + static_cast<size_t>(g) * group_bytes);
  }
  const std::vector<float> x = random.floats(static_cast<size_t>(m * k), 5.0f);
  std::vector<int8_t> values(x.size());
  std::vector<float> scales(static_cast<size_t>(m * n_blocks)), y(static_cast<size_t>(m * n));
  std::vector<int32_t> sums(scales.size());
  for (int64_t i = 0; i < m; ++i) {
    table.quantize_row(x.data() + i * k, n_blocks * 32, values.data() + i * k, scales.data() + i * n_blocks,
                       sums.data() + i * n_blocks);
  }
  std::vector<uint16_t> rounded(static_cast<size_t>(m * t5g::kernels::padded_to_pairs(k)));
  for (int64_t i = 0; i < m; ++i)
    table.round_row(x.data() + i * k, k, rounded.data() + i * t5g::kernels::padded_to_pairs(k));
  const t5g::kernels::QuantizedRows x_q = {values.data(), scales.data(), sums.data()};
  table.matmul[static_cast<size_t>(type)](
      {packed.data(), 0, n_groups, n, k, m, x.data(), rounded.data(), x_q, y.data(), n, nullptr, false});
  std::vector<float> added(y.size(), 1.0f);
  const std::vector<float> bias = random.floats(static_cast<size_t>(n));
  table.matmul[static_cast<size_t>(type)](
      {packed.data(), 0, n_groups, n, k, m, x.data(), rounded.data(), x_q, added.data(), n, bias.data(), true});
  Result result;
  append(result, values);
  append(result, scales);
  append(result, sums);
  append(result, rounded);
  append(result, y);
  append(result, added);
  return result;
}

// A Q8_0 matrix in two planes: bounds with every third block exact, and the exact scores of some groups.
Result planes(const KernelTable& table, int64_t m, int64_t n, int64_t k) {
  namespace kernels = t5g::kernels;
  Random random(static_cast<uint32_t>(n + k + m));
  const int64_t n_groups = (n + kernels::kGroupRows - 1) / kernels::kGroupRows, n_rows = n_groups * kernels::kGroupRows;
  const auto groups = static_cast<size_t>(n_groups), queries = static_cast<size_t>(m);
  const auto size = static_cast<size_t>(m * k), blocks = size / 32;
  const std::vector<uint8_t> rows = random_rows(DataType::kQ8_0, n, k, random);
  std::vector<std::byte> coarse(groups * kernels::coarse_group_bytes(k)), fine(groups * kernels::fine_group_bytes(k));
  std::vector<uint8_t> plane_norms(groups * kernels::norm_group_bytes(k)), exact(static_cast<size_t>(k / 32));
  for (int64_t g = 0; g < n_groups; ++g) {
    kernels::pack_planes(reinterpret_cast<const std::byte*>(rows.data()), n, k, g, coarse.data(), fine.data(),
                         plane_norms.data());
  }
  for (size_t b = 0; b < exact.size(); b += 3) exact[b] = 1;
  const kernels::Planes weight = {coarse.data(), fine.data(), plane_norms.data(), n, k};

  std::vector<int8_t> values(size);
  std::vector<float> scales(blocks), norms(blocks), offsets(blocks);
  std::vector<int32_t> sums(blocks);
  table.quantize_row(random.floats(size, 5.0f).data(), m * k, values.data(), scales.data(), sums.data());
  const kernels::QuantizedRows x = {values.data(), scales.data(), sums.data()};
  kernels::measure_plane_input(x, m, k, norms.data(), offsets.data());

  std::vector<float> bounds(queries * static_cast<size_t>(n_rows)), group_bounds(queries * groups);
  table.bound_groups({weight,
                      0,
                      n_groups,
                      m,
                      {x, norms.data(), offsets.data()},
                      exact.data(),
                      bounds.data(),
                      n_rows,
                      group_bounds.data(),
                      n_groups});
  std::vector<int32_t> chosen;
  for (int64_t g = n_groups - 1; g >= 0; g -= 2) chosen.push_back(static_cast<int32_t>(g));
  const int64_t ldy = static_cast<int64_t>(chosen.size()) * kernels::kGroupRows;
  std::vector<float> scores(queries * static_cast<size_t>(ldy));
  table.score_groups({weight, chosen.data(), static_cast<int64_t>(chosen.size()), m, x, scores.data(), ldy});

  Result result;
  append(result, bounds);
  append(result, group_bounds);
  append(result, scores);
  return result;
}

Result row_ops(const KernelTable& table, int n) {
  Random random(static_cast<uint32_t>(n));
  const auto size = static_cast<size_t>(n);
  const std::vector<float> x = random.floats(size, 6.0f), weight = random.floats(size), a = random.floats(size, 3.0f);
  std::vector<float> normed(size), centred(size), gated(size), bent = x, added = x, capped = x,
                                                               rotated = random.floats(2 * size);
  table.rms_norm(x.data(), weight.data(), 1e-6f, n, normed.data());
  table.add_rms_norm(added.data(), a.data(), weight.data(), 1e-6f, n);
  table.layer_norm(x.data(), weight.data(), a.data(), 1e-6f, n, centred.data());
  table.bias_gelu(bent.data(), a.data(), n);
  table.geglu(x.data(), a.data(), n, gated.data());
  table.softcap(capped.data(), n, 2.0f);
  table.rope(rotated.data(), x.data(), a.data(), 2 * n);
  Result result;
  for (const auto* values : {&normed, &added, &centred, &bent, &gated, &capped, &rotated}) append(result, *values);
  append(result, table.argmax(x.data(), n));
  append(result, table.log_sum_exp(x.data(), n));
  return result;
}

Result attention(const KernelTable& table, DataType type, int rows, int head_dim, float softcap) {
  Random random(static_cast<uint32_t>(rows * 1000 + head_dim));
  const size_t state = static_cast<size_t>(rows) * static_cast<size_t>(head_dim);
  const int n_chunks = std::min(3, t5g::kernels::chunks_per_part(type)), n_keys = n_chunks * t5g::kernels::kChunkKeys;
  const size_t size = static_cast<size_t>(n_keys) * static_cast<size_t>(head_dim);
  const std::vector<float> q = random.floats(state), keys = random.floats(size, 2.0f), values = random.floats(size);
  const t5g::kernels::KvKernels& kv = table.kv[static_cast<size_t>(type)];
  const size_t chunk_bytes = t5g::kernels::kv_head_bytes(type, head_dim);
  std::vector<std::byte> stored(static_cast<size_t>(n_chunks) * chunk_bytes);
  std::vector<const std::byte*> chunks;
  for (int key = 0; key < n_keys; ++key) {
    std::byte* chunk = stored.data() + static_cast<size_t>(key / t5g::kernels::kChunkKeys) * chunk_bytes;
    if (key % t5g::kernels::kChunkKeys == 0) chunks.push_back(chunk);
    kv.store_token(keys.data() + key * head_dim, values.data() + key * head_dim, head_dim,
                   key % t5g::kernels::kChunkKeys, chunk);
  }
  std::vector<float> prepared(state);
  std::vector<const float*> q_rows;
  std::vector<int32_t> begin, end;
  for (int r = 0; r < rows; ++r) {
    kv.prepare_query(q.data() + r * head_dim, 0.7f, head_dim, prepared.data() + r * head_dim);
    q_rows.push_back(prepared.data() + r * head_dim);
    begin.push_back(random.below(n_keys) - 5);
    end.push_back(random.below(n_keys + 6));
  }
  std::vector<float> max(static_cast<size_t>(rows)), sum(max.size());
  std::vector<float> acc(max.size() * static_cast<size_t>(t5g::kernels::acc_stride(head_dim)));
  std::vector<float> scratch(t5g::kernels::attend_scratch(type, head_dim));
  kv.attend({q_rows.data(), rows, head_dim, chunks.data(), nullptr, n_keys, begin.data(), end.data(), softcap,
             max.data(), sum.data(), acc.data(), scratch.data()});
  std::vector<float> state_max = max, state_sum = sum, state_acc = acc;
  for (auto* part : {&max, &sum, &acc}) std::reverse(part->begin(), part->end());
  table.merge(
      {rows, head_dim, state_max.data(), state_sum.data(), state_acc.data(), max.data(), sum.data(), acc.data()});
  Result result;
  append(result, stored);
  for (const auto* part : {&max, &sum, &acc, &state_max, &state_sum, &state_acc}) append(result, *part);
  return result;
}

struct Case {
  std::string name;
  std::function<Result(const KernelTable&)> run;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (int t = 0; t < t5g::kNumDataTypes; ++t) {
    const auto type = static_cast<DataType>(t);
    for (const int m : {0, 1, 2, 3, 7, 13, 22, 139}) {
      for (const auto& [n, k] : {std::pair{1, 32}, {16, 64}, {85, 160}, {17, 1056}}) {
        cases.push_back({"matmul " + t5g::type_name(type) + " m=" + std::to_string(m) + " n=" + std::to_string(n) +
                             " k=" + std::to_string(k),
                         [=, n = n, k = k](const KernelTable& table) { return matmul(table, type, m, n, k); }});
      }
    }
  }
  for (const int m : {1, 2, 3, 7, 8, 13}) {
    for (const auto& [n, k] : {std::pair{1, 32}, {85, 384}}) {
      cases.push_back({"planes m=" + std::to_string(m) + " n=" + std::to_string(n) + " k=" + std::to_string(k),
                       [=, n = n, k = k](const KernelTable& table) { return planes(table, m, n, k); }});
    }
  }
  for (const int n : {1, 2, 15, 16, 17, 64, 100, 1152, 5000})
    cases.push_back({"rows n=" + std::to_string(n), [=](const KernelTable& table) { return row_ops(table, n); }});
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBF16, DataType::kQ8_0}) {
    for (const int rows : {1, 4, 9, 64}) {
      for (const int head_dim : {4, 12, 15, 32, 72, 256}) {
        for (const float softcap : {0.0f, 3.0f}) {
          cases.push_back({"attention " + t5g::type_name(type) + " rows=" + std::to_string(rows) +
                               " head_dim=" + std::to_string(head_dim),
                           [=](const KernelTable& table) { return attention(table, type, rows, head_dim, softcap); }});
        }
      }
    }
  }
  return cases;
}

// Number of cases in which the level differs from the portable one.
int compare(const KernelTable& table, const std::vector<Case>& cases) {
  const KernelTable& reference = t5g::kernels::level("generic");
  int mismatches = 0;
  for (const Case& c : cases) {
    if (c.run(table) == c.run(reference)) continue;
    std::printf("MISMATCH %s: %s\n", table.name, c.name.c_str());
    ++mismatches;
  }
  std::printf("%s: %d of %zu cases differ from generic\n", table.name, mismatches, cases.size());
  return mismatches;
}

}  // namespace

int main(int argc, char** argv) try {
  for (int i = 1; i < argc; ++i) {
    if (!t5g::kernels::runs_here(t5g::kernels::level(argv[i]))) {
      std::printf("MISSING %s: this CPU cannot run it\n", argv[i]);
      return 1;
    }
  }
  const std::vector<Case> cases = all_cases();
  int mismatches = compare(portable_tiles(), cases);
  for (const KernelTable* table : t5g::kernels::all_levels()) {
    if (t5g::kernels::runs_here(*table) || emulate(*table)) {
      mismatches += compare(t5g::kernels::level(table->name), cases);
    } else {
      std::printf("%s: skipped, this CPU cannot run it\n", table->name);
    }
  }
  const char* fault = emulation_fault();
  std::printf("%ld instructions emulated%s%s\n", emulated_instructions(), fault ? ", and a fault: " : "",
              fault ? fault : "");
  return mismatches == 0 && fault == nullptr ? 0 : 1;
} catch (const std::exception& e) {
  std::printf("%s\n", e.what());
  return 1;
}
