// Attention to rows of hidden states, kept as sources keep them.
#include <algorithm>
#include <string>
#include <vector>

#include "kernels/cpu/kv_layout.h"
#include "tensor/state_rows.h"
#include "testing/kernel_bindings.h"

namespace t5g::python {
namespace {

// q: [rows, n]; keys: [n_keys, n]; scales: [rows, n_keys], or empty for none.
py::tuple attend_latent(const std::string& level, const std::string& type_name, const Floats& q, const Floats& keys,
                        const Floats& scales, float cap, int repeat) {
  const KernelTable& table = runnable(level);
  const DataType type = parse_type(type_name);
  require(is_state_type(type), "type: states are not kept in '" + type_name + "'.");
  require(q.ndim() == 2 && keys.ndim() == 2 && q.shape(1) == keys.shape(1),
          "q, keys: expected [rows, n], [n_keys, n].");
  const auto rows = static_cast<int>(q.shape(0)), n_keys = static_cast<int>(keys.shape(0));
  const auto n = static_cast<int>(q.shape(1));
  require(n_keys >= 1 && n_keys <= kernels::kChunkKeys, "keys: expected 1 to 64.");
  require(scales.size() == 0 || scales.size() == rows * n_keys, "scales: expected [rows, n_keys].");
  const StateRows states = StateRows::rounded(type, n, {keys.data(), static_cast<size_t>(keys.size())});
  const int stride = kernels::acc_stride(n);
  std::vector<float> padded(static_cast<size_t>(rows * stride)), acc(padded.size());
  std::vector<const float*> q_rows, scale_rows;
  for (int i = 0; i < rows; ++i) {
    std::copy_n(q.data() + i * n, n, padded.data() + i * stride);
    q_rows.push_back(padded.data() + i * stride);
    scale_rows.push_back(scales.data() + i * n_keys);
  }
  Floats max(rows), sum(rows), out({rows, n});
  kernels::AttendLatentArgs args{};
  args.type = type;
  args.hidden_size = n;
  args.row_bytes = static_cast<int64_t>(states.row_bytes());
  args.keys = states.bytes().data();
  args.n_keys = n_keys;
  args.q = q_rows.data();
  args.scales = scales.size() == 0 ? nullptr : scale_rows.data();
  args.rows = rows;
  args.softcap = cap;
  args.max = max.mutable_data();
  args.sum = sum.mutable_data();
  args.acc = acc.data();
  {
    const py::gil_scoped_release release;
    for (int i = 0; i < repeat; ++i) table.attend_latent(args);
  }
  for (int i = 0; i < rows; ++i) std::copy_n(acc.data() + i * stride, n, out.mutable_data() + i * n);
  return py::make_tuple(max, sum, out);
}

}  // namespace

void bind_attend_latent(py::module_& m) {
  using py::arg;
  m.def("attend_latent", &attend_latent, arg("level"), arg("type"), arg("q"), arg("keys"), arg("scales"),
        arg("softcap") = 0.0f, arg("repeat") = 1,
        "max [rows], sum [rows] and acc [rows, n] of one chunk of rows that are keys and values, kept in a type.");
}

}  // namespace t5g::python
