// Attention over parts of keys and values stored as the level stores them, and the merging of parts.
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cpu/int8_keys.h"
#include "kernels/cpu/kv_layout.h"
#include "tensor/buffer.h"
#include "testing/kernel_bindings.h"

namespace t5g::python {
namespace {

const kernels::KvKernels& kv_kernels(const KernelTable& table, const std::string& name) {
  const DataType type = parse_type(name);
  require(kernels::is_kv_type(type), "kv_type: keys and values are not stored in '" + name + "'.");
  return table.kv[static_cast<size_t>(type)];
}

py::array_t<uint8_t> prepare_query(const std::string& level, const std::string& kv_type, const Floats& q, float scale,
                                   int repeat) {
  const kernels::KvKernels& kv = kv_kernels(runnable(level), kv_type);
  std::vector<float> out(static_cast<size_t>(q.size()));
  for (int i = 0; i < repeat; ++i) kv.prepare_query(q.data(), scale, static_cast<int>(q.size()), out.data());
  return Bytes(static_cast<py::ssize_t>(out.size() * sizeof(float)), reinterpret_cast<const uint8_t*>(out.data()));
}

// Chunks of keys and values [64 n, head_dim], one after the other, stored as the level stores them. int8: of BF16, with
// keys of int8 (see kernels/cpu/int8_keys.h).
Buffer stored_chunks(const KernelTable& table, const std::string& kv_type, const Floats& keys, const Floats& values,
                     int repeat = 1, bool int8 = false) {
  require(keys.ndim() == 2 && keys.shape(0) > 0 && keys.shape(0) % kernels::kChunkKeys == 0,
          "keys: expected [64 n, head_dim].");
  require_equal_size(keys, values, "keys, values");
  const kernels::KvKernels& kv = kv_kernels(table, kv_type);
  const auto n_keys = static_cast<int>(keys.shape(0)), head_dim = static_cast<int>(keys.shape(1));
  const size_t bytes = kernels::kv_head_bytes(parse_type(kv_type), head_dim);
  Buffer chunks(static_cast<size_t>(n_keys / kernels::kChunkKeys) * bytes);
  for (int i = 0; i < repeat * n_keys; ++i) {
    const int token = i % n_keys, slot = token % kernels::kChunkKeys;
    const float *key = keys.data() + token * head_dim, *value = values.data() + token * head_dim;
    std::byte* chunk = chunks.data() + static_cast<size_t>(token / kernels::kChunkKeys) * bytes;
    int8 ? kernels::store_int8_token(table, key, value, head_dim, slot, chunk)
         : kv.store_token(key, value, head_dim, slot, chunk);
  }
  return chunks;
}

Bytes store_tokens(const std::string& level, const std::string& kv_type, const Floats& keys, const Floats& values,
                   int repeat) {
  const Buffer chunks = stored_chunks(runnable(level), kv_type, keys, values, repeat);
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

// keys and values: [64 n, head_dim], one part. int8: of BF16, see kernels/cpu/int8_keys.h.
py::tuple attend(const std::string& level, const Floats& q, const Floats& keys, const Floats& values, const Ints& begin,
                 const Ints& end, float cap, int repeat, const std::string& kv_type, bool int8) {
  const KernelTable& table = runnable(level);
  const kernels::KvKernels& kv = kv_kernels(table, kv_type);
  require(q.ndim() == 2, "q: expected [rows, head_dim].");
  const auto rows = static_cast<int>(q.shape(0)), head_dim = static_cast<int>(q.shape(1));
  require(begin.size() == rows && end.size() == rows, "begin, end: expected [rows].");
  const DataType type = parse_type(kv_type);
  require(!int8 || (type == DataType::kBF16 && kernels::has_int8_keys(head_dim)), "int8: expected bf16 and room.");
  const Buffer stored = stored_chunks(table, kv_type, keys, values, 1, int8);
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
    float* out = prepared.data() + i * head_dim;
    int8 ? kernels::prepare_int8_query(table, q.data() + i * head_dim, 1.0f, head_dim, out)
         : kv.prepare_query(q.data() + i * head_dim, 1.0f, head_dim, out);
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
  if (int8) args.multiply_int8 = table.matmul[static_cast<size_t>(DataType::kQ8_0)];
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

py::tuple merge(const std::string& level, const Softmax& state, const Softmax& part, int repeat) {
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
  const kernels::MergeArgs args = {rows,
                                   head_dim,
                                   max.mutable_data(),
                                   sum.mutable_data(),
                                   padded.data(),
                                   std::get<0>(part).data(),
                                   std::get<1>(part).data(),
                                   padded_part.data()};
  const KernelTable& table = runnable(level);
  {
    const py::gil_scoped_release release;
    for (int i = 0; i < repeat; ++i) table.merge(args);
  }
  return py::make_tuple(max, sum, without_padding(padded, rows, head_dim));
}

}  // namespace

void bind_prepare_query(py::module_& m) {
  using py::arg;
  m.def("prepare_query", &prepare_query, arg("level"), arg("kv_type"), arg("q"), arg("scale") = 1.0f, arg("repeat") = 1,
        "What attend() reads of a query [head_dim] times the scale: its bytes, of which bf16 uses the first half.");
}

void bind_store_token(py::module_& m) {
  using py::arg;
  m.def("store_token", &store_tokens, arg("level"), arg("kv_type"), arg("keys"), arg("values"), arg("repeat") = 1,
        "The bytes of chunks of keys and values [64 n, head_dim], stored token by token.");
}

void bind_attend(py::module_& m) {
  using py::arg;
  m.def("attend", &attend, arg("level"), arg("q"), arg("keys"), arg("values"), arg("begin"), arg("end"),
        arg("softcap") = 0.0f, arg("repeat") = 1, arg("kv_type") = "f32", arg("int8") = false,
        "max [rows], sum [rows] and acc [rows, head_dim] of one part of keys.");
}

void bind_merge(py::module_& m) {
  using py::arg;
  m.def("merge", &merge, arg("level"), arg("state"), arg("part"), arg("repeat") = 1,
        "The state with the part merged into it, both (max, sum, acc).");
}

}  // namespace t5g::python
