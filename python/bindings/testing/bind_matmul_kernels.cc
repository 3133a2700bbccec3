// Weight matrices packed for the kernels, and their product.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cpu/pack.h"
#include "tensor/buffer.h"
#include "testing/kernel_bindings.h"

namespace t5g::python {
namespace {

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
  Floats matmul(const KernelTable& table, const Floats& x, int64_t group_begin, int64_t group_end, int repeat) const {
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

}  // namespace

void bind_packed_matrix(py::module_& m) {
  using py::arg;
  py::class_<PackedMatrix>(m, "PackedMatrix", "A weight matrix [n, k] of a data type, packed for the kernels.")
      .def(py::init<const std::string&, const Bytes&, int64_t, int64_t>(), arg("type"), arg("rows"), arg("n"), arg("k"))
      .def_property_readonly("n_groups", &PackedMatrix::n_groups)
      .def_property_readonly("size_bytes", &PackedMatrix::size_bytes)
      .def_property_readonly("bytes", &PackedMatrix::bytes);
}

void bind_matmul(py::module_& m) {
  using py::arg;
  const auto matmul = [](const std::string& level, const PackedMatrix& matrix, const Floats& x, int64_t group_begin,
                         int64_t group_end,
                         int repeat) { return matrix.matmul(runnable(level), x, group_begin, group_end, repeat); };
  m.def("matmul", matmul, arg("level"), arg("matrix"), arg("x"), arg("group_begin") = 0, arg("group_end") = -1,
        arg("repeat") = 1, "x [m, k] times the matrix, [m, n]; columns outside of the groups of 16 are NaN.");
}

}  // namespace t5g::python
