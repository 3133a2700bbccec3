// t5g._core.kernels: every kernel of every level on NumPy arrays, for tests and benchmarks.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/planes.h"
#include "ops/cpu/head_search.h"
#include "ops/cpu/plane_matrix.h"
#include "quant/types.h"
#include "tensor/buffer.h"

namespace t5g::python {
namespace {

namespace py = pybind11;
using kernels::KernelTable;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;
using Ints = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

void require(bool holds, const std::string& message) {
  if (!holds) throw InvalidArgument(message);
}

const KernelTable& runnable(const std::string& level) {
  const KernelTable& table = kernels::level(level);
  if (!kernels::runs_here(table)) throw Unsupported("this CPU cannot run the level '" + level + "'.");
  return table;
}

DataType parse_type(const std::string& name) {
  const std::optional<DataType> type = type_from_name(name);
  require(type.has_value(), "type: no data type '" + name + "'.");
  return *type;
}

Floats copy_of(const Floats& x) { return Floats(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()), x.data()); }

void require_equal_size(const Floats& a, const Floats& b, const char* names) {
  require(a.size() == b.size(), std::string(names) + ": must have the same size.");
}

// A weight matrix [n, k], packed as the model's are.
class PackedMatrix {
 public:
  PackedMatrix(const std::string& type, const Bytes& rows, int64_t n, int64_t k)
      : type_(parse_type(type)), n_(n), k_(k), n_groups_((n + kernels::kGroupRows - 1) / kernels::kGroupRows) {
    require(n >= 0 && k > 0 && k % info(type_).block_values == 0, "k: must be a positive multiple of the block.");
    require(static_cast<size_t>(rows.size()) == static_cast<size_t>(n) * row_bytes(type_, k),
            "rows: size differs from n rows of k values.");
    const size_t group_bytes = kernels::packed_group_bytes(type_, k);
    packed_ = Buffer(static_cast<size_t>(n_groups_) * group_bytes);
    const auto* matrix = reinterpret_cast<const std::byte*>(rows.data());
    for (int64_t g = 0; g < n_groups_; ++g)
      kernels::pack_group(type_, matrix, n, k, g, packed_.data() + static_cast<size_t>(g) * group_bytes);
  }

  int64_t n_groups() const { return n_groups_; }
  size_t size_bytes() const { return packed_.size_bytes(); }
  Bytes bytes() const {
    return Bytes(static_cast<py::ssize_t>(packed_.size_bytes()), reinterpret_cast<const uint8_t*>(packed_.data()));
  }

  // Columns outside of the groups are NaN. The product is computed `repeat` times, for benchmarks.
  Floats matmul(const std::string& level, const Floats& x, int64_t group_begin, int64_t group_end, int repeat) const {
    const KernelTable& table = runnable(level);
    require(x.ndim() == 2 && x.shape(1) == k_, "x: expected [m, k].");
    if (group_end < 0) group_end = n_groups_;
    require(0 <= group_begin && group_begin <= group_end && group_end <= n_groups_, "groups: out of range.");
    const int64_t m = x.shape(0), n_blocks = k_ / kernels::kBlock;
    Floats y({m, n_});
    std::fill_n(y.mutable_data(), y.size(), std::numeric_limits<float>::quiet_NaN());
    std::vector<int8_t> values(static_cast<size_t>(m * k_));
    std::vector<float> scales(static_cast<size_t>(m * n_blocks));
    std::vector<int32_t> sums(scales.size());
    std::vector<uint16_t> rounded(static_cast<size_t>(m * kernels::padded_to_pairs(k_)));
    const kernels::QuantizedRows x_q = {values.data(), scales.data(), sums.data()};
    const kernels::MatmulArgs args = {packed_.data(), group_begin, group_end,        n_, k_,      m,    x.data(),
                                      rounded.data(), x_q,         y.mutable_data(), n_, nullptr, false};
    const py::gil_scoped_release release;
    for (int64_t i = 0; is_quantized(type_) && i < m; ++i) {
      table.quantize_row(args.x + i * k_, k_, values.data() + i * k_, scales.data() + i * n_blocks,
                         sums.data() + i * n_blocks);
    }
    for (int64_t i = 0; i < m; ++i)
      table.round_row(args.x + i * k_, k_, rounded.data() + i * kernels::padded_to_pairs(k_));
    for (int i = 0; i < repeat; ++i) table.matmul[static_cast<size_t>(type_)](args);
    return y;
  }

 private:
  DataType type_;
  int64_t n_, k_, n_groups_;
  Buffer packed_;
};

// A Q8_0 head [n, k] split into planes, as the model's is when it is large.
class SplitHead {
 public:
  SplitHead(const Bytes& rows, int64_t n, int64_t k)
      : bytes_(rows.data(), rows.data() + rows.size()),
        matrix_({.type = DataType::kQ8_0, .rows = n, .cols = k, .bytes = std::as_bytes(std::span(bytes_))}) {
    require(n > 0 && k > 0 && k % kernels::kBlock == 0, "k: must be a positive multiple of 32.");
    require(bytes_.size() == static_cast<size_t>(n) * row_bytes(DataType::kQ8_0, k), "rows: not n rows of k values.");
    ThreadPool pool(1);
    matrix_.pack(pool, nullptr);
  }

  bool finite() const { return matrix_.finite(); }

  // Upper bounds [m, 16 * groups] and, in the same units, those of groups [m, groups].
  py::tuple bounds(const std::string& level, const Floats& x, const Bytes& exact) const {
    const Quantized q(level, x, matrix_.cols());
    require(exact.size() == matrix_.cols() / kernels::kBlock, "exact: expected one per block.");
    const int64_t n_groups = matrix_.n_groups(), n_rows = n_groups * kernels::kGroupRows;
    Floats rows({q.m, n_rows}), groups({q.m, n_groups});
    runnable(level).bound_groups({matrix_.planes(), 0, n_groups, q.m, q.input, exact.data(), rows.mutable_data(),
                                  n_rows, groups.mutable_data(), n_groups});
    return py::make_tuple(rows, groups);
  }

  // Exact scores [m, 16 * listed groups]; 0 for rows that do not exist. Computed `repeat` times, for benchmarks.
  Floats scores(const std::string& level, const Floats& x, const Ints& groups, int repeat) const {
    for (py::ssize_t i = 0; i < groups.size(); ++i)
      require(groups.data()[i] >= 0 && groups.data()[i] < matrix_.n_groups(), "groups: outside of the matrix.");
    const Quantized q(level, x, matrix_.cols());
    Floats scores({q.m, groups.size() * kernels::kGroupRows});
    std::fill_n(scores.mutable_data(), scores.size(), 0.0f);
    for (int i = 0; i < repeat; ++i) {
      runnable(level).score_groups(
          {matrix_.planes(), groups.data(), groups.size(), q.m, q.input.q, scores.mutable_data(), scores.shape(1)});
    }
    return scores;
  }

  // Of each row of x: (best, its logit, logits of `apart`), and the number of groups scored exactly; or None where all
  // logits would be computed instead.
  py::object best(const std::string& level, const Floats& x, float softcap, const std::vector<Ints>& apart,
                  int n_threads, int repeat) const {
    const Quantized q(level, x, matrix_.cols());
    require(q.m <= HeadSearch::kMaxQueries, "x: too many rows.");
    require(apart.empty() || static_cast<int64_t>(apart.size()) == q.m, "apart: expected one array for each row of x.");
    std::vector<Floats> logits;
    std::vector<BestQuery> queries(static_cast<size_t>(q.m));
    for (size_t i = 0; i < queries.size(); ++i) {
      const Ints ids = apart.empty() ? Ints(0) : apart[i];
      logits.emplace_back(ids.size());
      if (!apart.empty()) queries[i].apart = {apart[i].data(), static_cast<size_t>(ids.size())};
      queries[i].apart_logits = logits[i].mutable_data();
    }
    ThreadPool pool(n_threads);
    HeadSearch search(pool, runnable(level));
    bool found = false;
    {
      const py::gil_scoped_release release;
      for (int i = 0; i < repeat; ++i) found = search.run(matrix_, q.input.q, softcap, queries, nullptr);
    }
    if (!found) return py::none();
    py::list results;
    for (size_t i = 0; i < queries.size(); ++i)
      results.append(py::make_tuple(queries[i].best, queries[i].best_logit, logits[i]));
    return py::make_tuple(results, search.n_scored());
  }

 private:
  // Rows of activations [m, k], as the kernels want them.
  struct Quantized {
    Quantized(const std::string& level, const Floats& x, int64_t k)
        : m(x.ndim() == 2 ? x.shape(0) : 0),
          values(static_cast<size_t>(m * k)),
          scales(values.size() / kernels::kBlock),
          norms(scales.size()),
          offsets(scales.size()),
          sums(scales.size()) {
      require(x.ndim() == 2 && x.shape(1) == k, "x: expected [m, k].");
      runnable(level).quantize_row(x.data(), m * k, values.data(), scales.data(), sums.data());
      input = {{values.data(), scales.data(), sums.data()}, norms.data(), offsets.data()};
      kernels::measure_plane_input(input.q, m, k, norms.data(), offsets.data());
    }
    int64_t m;
    std::vector<int8_t> values;
    std::vector<float> scales, norms, offsets;
    std::vector<int32_t> sums;
    kernels::PlaneRows input;
  };

  std::vector<uint8_t> bytes_;
  PlaneMatrix matrix_;
};

py::tuple quantize_row(const std::string& level, const Floats& x) {
  const int64_t k = x.size();
  require(k % kernels::kBlock == 0, "x: size must be a multiple of 32.");
  py::array_t<int8_t> values(k);
  Floats scales(k / kernels::kBlock);
  Ints sums(k / kernels::kBlock);
  runnable(level).quantize_row(x.data(), k, values.mutable_data(), scales.mutable_data(), sums.mutable_data());
  return py::make_tuple(values, scales, sums);
}

py::array_t<uint16_t> round_row(const std::string& level, const Floats& x) {
  py::array_t<uint16_t> out(kernels::padded_to_pairs(x.size()));
  runnable(level).round_row(x.data(), x.size(), out.mutable_data());
  return out;
}

Floats rms_norm(const std::string& level, const Floats& x, const Floats& weight, float eps) {
  require_equal_size(x, weight, "x, weight");
  Floats out(x.size());
  runnable(level).rms_norm(x.data(), weight.data(), eps, x.size(), out.mutable_data());
  return out;
}

Floats add_rms_norm(const std::string& level, const Floats& x, const Floats& a, const Floats& weight, float eps) {
  require_equal_size(x, weight, "x, weight");
  require_equal_size(x, a, "x, a");
  Floats out = copy_of(x);
  runnable(level).add_rms_norm(out.mutable_data(), a.data(), weight.data(), eps, x.size());
  return out;
}

Floats layer_norm(const std::string& level, const Floats& x, const Floats& weight, const Floats& bias, float eps) {
  require_equal_size(x, weight, "x, weight");
  require_equal_size(x, bias, "x, bias");
  Floats out(x.size());
  runnable(level).layer_norm(x.data(), weight.data(), bias.data(), eps, x.size(), out.mutable_data());
  return out;
}

Floats bias_gelu(const std::string& level, const Floats& x, const Floats& bias) {
  require_equal_size(x, bias, "x, bias");
  Floats out = copy_of(x);
  runnable(level).bias_gelu(out.mutable_data(), bias.data(), x.size());
  return out;
}

Floats geglu(const std::string& level, const Floats& gate, const Floats& up) {
  require_equal_size(gate, up, "gate, up");
  Floats out(gate.size());
  runnable(level).geglu(gate.data(), up.data(), gate.size(), out.mutable_data());
  return out;
}

Floats softcap(const std::string& level, const Floats& x, float cap) {
  Floats out = copy_of(x);
  runnable(level).softcap(out.mutable_data(), out.size(), cap);
  return out;
}

Floats rope(const std::string& level, const Floats& x, const Floats& cosines, const Floats& sines) {
  require(x.size() == 2 * cosines.size() && x.size() == 2 * sines.size(), "cosines, sines: half the size of x.");
  Floats out = copy_of(x);
  runnable(level).rope(out.mutable_data(), cosines.data(), sines.data(), static_cast<int>(x.size()));
  return out;
}

const kernels::KvKernels& kv_kernels(const KernelTable& table, const std::string& name) {
  const DataType type = parse_type(name);
  require(kernels::is_kv_type(type), "kv_type: keys and values are not stored in '" + name + "'.");
  return table.kv[static_cast<size_t>(type)];
}

// Chunks of keys and values [64 n, head_dim], one after the other, stored as the level stores them.
Buffer stored_chunks(const kernels::KvKernels& kv, DataType type, const Floats& keys, const Floats& values) {
  require(keys.ndim() == 2 && keys.shape(0) > 0 && keys.shape(0) % kernels::kChunkKeys == 0,
          "keys: expected [64 n, head_dim].");
  require_equal_size(keys, values, "keys, values");
  const auto n_keys = static_cast<int>(keys.shape(0)), head_dim = static_cast<int>(keys.shape(1));
  const size_t bytes = kernels::kv_head_bytes(type, head_dim);
  Buffer chunks(static_cast<size_t>(n_keys / kernels::kChunkKeys) * bytes);
  for (int key = 0; key < n_keys; ++key) {
    kv.store_token(keys.data() + key * head_dim, values.data() + key * head_dim, head_dim, key % kernels::kChunkKeys,
                   chunks.data() + static_cast<size_t>(key / kernels::kChunkKeys) * bytes);
  }
  return chunks;
}

Bytes store_tokens(const std::string& level, const std::string& kv_type, const Floats& keys, const Floats& values) {
  const Buffer chunks = stored_chunks(kv_kernels(runnable(level), kv_type), parse_type(kv_type), keys, values);
  return Bytes(static_cast<py::ssize_t>(chunks.size_bytes()), reinterpret_cast<const uint8_t*>(chunks.data()));
}

// acc [rows, head_dim] to and from the rows of whole vectors that kernels write.
Floats without_padding(const std::vector<float>& padded, int rows, int head_dim) {
  Floats acc({rows, head_dim});
  for (int i = 0; i < rows; ++i)
    std::copy_n(padded.data() + i * kernels::acc_stride(head_dim), head_dim, acc.mutable_data() + i * head_dim);
  return acc;
}
std::vector<float> with_padding(const Floats& acc) {
  const auto rows = static_cast<int>(acc.shape(0)), head_dim = static_cast<int>(acc.shape(1));
  std::vector<float> padded(static_cast<size_t>(rows) * static_cast<size_t>(kernels::acc_stride(head_dim)));
  for (int i = 0; i < rows; ++i)
    std::copy_n(acc.data() + i * head_dim, head_dim, padded.data() + i * kernels::acc_stride(head_dim));
  return padded;
}

// keys and values: [64 n, head_dim], one part.
py::tuple attend(const std::string& level, const Floats& q, const Floats& keys, const Floats& values, const Ints& begin,
                 const Ints& end, float cap, int repeat, const std::string& kv_type) {
  const kernels::KvKernels& kv = kv_kernels(runnable(level), kv_type);
  require(q.ndim() == 2, "q: expected [rows, head_dim].");
  const auto rows = static_cast<int>(q.shape(0)), head_dim = static_cast<int>(q.shape(1));
  require(begin.size() == rows && end.size() == rows, "begin, end: expected [rows].");
  const DataType type = parse_type(kv_type);
  const Buffer stored = stored_chunks(kv, type, keys, values);
  const auto n_keys = static_cast<int>(keys.shape(0));
  require(keys.shape(1) == head_dim, "q, keys: expected the same head_dim.");
  require(n_keys <= kernels::chunks_per_part(type) * kernels::kChunkKeys, "keys: more than one part.");
  std::vector<const std::byte*> chunks;
  for (int i = 0; i < n_keys / kernels::kChunkKeys; ++i)
    chunks.push_back(stored.data() + static_cast<size_t>(i) * kernels::kv_head_bytes(type, head_dim));
  const Buffer scratch(kernels::attend_scratch(type, head_dim) * sizeof(float));
  std::vector<float> prepared(static_cast<size_t>(q.size()));
  std::vector<const float*> q_rows;
  for (int i = 0; i < rows; ++i) {
    q_rows.push_back(prepared.data() + i * head_dim);
    kv.prepare_query(q.data() + i * head_dim, 1.0f, head_dim, prepared.data() + i * head_dim);
  }
  Floats max(rows), sum(rows);
  std::vector<float> acc(static_cast<size_t>(rows) * static_cast<size_t>(kernels::acc_stride(head_dim)));
  kernels::AttendArgs args{};
  args.q = q_rows.data();
  args.rows = rows;
  args.head_dim = head_dim;
  args.chunks = chunks.data();
  args.n_keys = n_keys;
  args.begin = begin.data();
  args.end = end.data();
  args.softcap = cap;
  args.max = max.mutable_data();
  args.sum = sum.mutable_data();
  args.acc = acc.data();
  args.scratch = scratch.floats();
  {
    const py::gil_scoped_release release;
    for (int i = 0; i < repeat; ++i) kv.attend(args);
  }
  return py::make_tuple(max, sum, without_padding(acc, rows, head_dim));
}

using Softmax = std::tuple<Floats, Floats, Floats>;  // max [rows], sum [rows], acc [rows, head_dim]

py::tuple merge(const std::string& level, const Softmax& state, const Softmax& part) {
  Floats max = copy_of(std::get<0>(state)), sum = copy_of(std::get<1>(state));
  const Floats &acc = std::get<2>(state), &part_acc = std::get<2>(part);
  require_equal_size(max, std::get<0>(part), "max");
  require_equal_size(sum, std::get<1>(part), "sum");
  require_equal_size(acc, part_acc, "acc");
  require(acc.ndim() == 2 && part_acc.ndim() == 2 && acc.shape(0) == part_acc.shape(0),
          "acc: expected [rows, head_dim].");
  require(acc.shape(0) == max.size() && max.size() == sum.size(), "max, sum: expected [rows].");
  const auto rows = static_cast<int>(acc.shape(0)), head_dim = static_cast<int>(acc.shape(1));
  std::vector<float> padded = with_padding(acc);
  const std::vector<float> padded_part = with_padding(part_acc);
  runnable(level).merge({rows, head_dim, max.mutable_data(), sum.mutable_data(), padded.data(),
                         std::get<0>(part).data(), std::get<1>(part).data(), padded_part.data()});
  return py::make_tuple(max, sum, without_padding(padded, rows, head_dim));
}

int64_t argmax(const std::string& level, const Floats& x) {
  require(x.size() > 0, "x: is empty.");
  return runnable(level).argmax(x.data(), x.size());
}

float log_sum_exp(const std::string& level, const Floats& x) {
  require(x.size() > 0, "x: is empty.");
  return runnable(level).log_sum_exp(x.data(), x.size());
}

Floats dequantize(const std::string& type_name, const Bytes& blocks) {
  const DataType type = parse_type(type_name);
  const DataTypeInfo& t = info(type);
  require(blocks.size() % t.block_bytes == 0, "blocks: not a whole number of blocks.");
  const int64_t k = blocks.size() / t.block_bytes * t.block_values;
  Floats out(k);
  dequantize_row(type, blocks.data(), k, out.mutable_data());
  return out;
}

// (name, GGUF id, values and bytes of a block) of every row of quant/types.inc.
std::vector<std::tuple<std::string, uint32_t, int, int>> types() {
  std::vector<std::tuple<std::string, uint32_t, int, int>> rows;
  for (const DataTypeInfo& t : kDataTypes) rows.emplace_back(t.name, t.gguf_id, t.block_values, t.block_bytes);
  return rows;
}

std::vector<std::pair<std::string, bool>> levels() {
  std::vector<std::pair<std::string, bool>> names;
  for (const KernelTable* table : kernels::all_levels()) names.emplace_back(table->name, kernels::runs_here(*table));
  return names;
}

}  // namespace

void bind_kernels(py::module_& core) {
  using py::arg;
  py::module_ m = core.def_submodule("kernels", "Every kernel of every CPU level, for tests and benchmarks.");
  m.def("levels", &levels, "Names of all levels built in, lowest first, and whether this CPU can run each.");
  m.def(
      "types", &types,
      "Every data type that weights can have, as in csrc/quant/types.inc: name, GGUF id, values and bytes of a block.");
  m.def("active", [] { return std::string(kernels::active().name); }, "Name of the level in use.");
  py::class_<PackedMatrix>(m, "PackedMatrix", "A weight matrix [n, k] of a data type, packed for the kernels.")
      .def(py::init<const std::string&, const Bytes&, int64_t, int64_t>(), arg("type"), arg("rows"), arg("n"), arg("k"))
      .def_property_readonly("n_groups", &PackedMatrix::n_groups)
      .def_property_readonly("size_bytes", &PackedMatrix::size_bytes)
      .def_property_readonly("bytes", &PackedMatrix::bytes)
      .def("matmul", &PackedMatrix::matmul, arg("level"), arg("x"), arg("group_begin") = 0, arg("group_end") = -1,
           arg("repeat") = 1);
  py::class_<SplitHead>(m, "SplitHead", "A Q8_0 output head [n, k] split into planes of 4 bits.")
      .def(py::init<const Bytes&, int64_t, int64_t>(), arg("rows"), arg("n"), arg("k"))
      .def_property_readonly("finite", &SplitHead::finite)
      .def("bounds", &SplitHead::bounds, arg("level"), arg("x"), arg("exact"))
      .def("scores", &SplitHead::scores, arg("level"), arg("x"), arg("groups"), arg("repeat") = 1)
      .def("best", &SplitHead::best, arg("level"), arg("x"), arg("softcap") = 0.0f, arg("apart") = std::vector<Ints>(),
           arg("n_threads") = 1, arg("repeat") = 1);
  m.def("quantize_row", &quantize_row, arg("level"), arg("x"));
  m.def("round_row", &round_row, arg("level"), arg("x"));
  m.def("rms_norm", &rms_norm, arg("level"), arg("x"), arg("weight"), arg("eps"));
  m.def("add_rms_norm", &add_rms_norm, arg("level"), arg("x"), arg("a"), arg("weight"), arg("eps"));
  m.def("layer_norm", &layer_norm, arg("level"), arg("x"), arg("weight"), arg("bias"), arg("eps"));
  m.def("bias_gelu", &bias_gelu, arg("level"), arg("x"), arg("bias"));
  m.def("geglu", &geglu, arg("level"), arg("gate"), arg("up"));
  m.def("softcap", &softcap, arg("level"), arg("x"), arg("cap"));
  m.def("rope", &rope, arg("level"), arg("x"), arg("cosines"), arg("sines"));
  m.def("attend", &attend, arg("level"), arg("q"), arg("keys"), arg("values"), arg("begin"), arg("end"),
        arg("softcap") = 0.0f, arg("repeat") = 1, arg("kv_type") = "f32");
  m.def("store_tokens", &store_tokens, arg("level"), arg("kv_type"), arg("keys"), arg("values"),
        "The bytes of chunks of keys and values.");
  m.def("merge", &merge, arg("level"), arg("state"), arg("part"));
  m.def("argmax", &argmax, arg("level"), arg("x"));
  m.def("log_sum_exp", &log_sum_exp, arg("level"), arg("x"));
  m.def("dequantize", &dequantize, arg("type"), arg("blocks"));
}

}  // namespace t5g::python
