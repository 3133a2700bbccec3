// t5g._testing.kernels: every kernel of every level on NumPy arrays, for tests and benchmarks. Each row of kernels.inc
// becomes a function of its name, or does not link.
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "testing/kernel_bindings.h"
#include "testing/row_kernels.h"
#include "testing/testing.h"

namespace t5g::python {

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

RowArguments::RowArguments(const kernels::Shapes& shapes, const py::args& given) : shapes_(shapes), given_(given) {
  counts_.fill(-1);
  std::string names;
  size_t expected = 0;
  for (const kernels::Parameter& p : shapes) {
    if (!p.is_given || shapes.is_count(p.name)) continue;
    names += (names.empty() ? "" : ", ") + std::string(p.name);
    ++expected;
  }
  require(given.size() == expected, "expected, behind the level, " + names + "; found " + std::to_string(given.size()) +
                                        (given.size() == 1 ? " argument." : " arguments."));
}

void RowArguments::check_size(const kernels::Parameter& p, int64_t size) {
  const auto found = ": expected ";
  int64_t& count = count_of(p);
  if (count < 0) {
    const int64_t granule = shapes_.granule();
    require(p.is_plain() && size % granule == 0, std::string(p.name) + found + "a multiple of " +
                                                     std::to_string(granule) + " values, found " +
                                                     std::to_string(size) + ".");
    count = size;
  }
  require(size == p.size(count),
          std::string(p.name) + found + std::to_string(p.size(count)) + " values, found " + std::to_string(size) + ".");
}

py::object RowArguments::results(std::vector<py::object> returned) const {
  for (size_t i = 0; i < shapes_.n; ++i) {
    if (shapes_.parameters[i].is_written) returned.push_back(arrays_[i]);
  }
  return returned.size() == 1 ? returned[0] : py::object(py::tuple(py::cast(returned)));
}

namespace {

std::vector<std::string> rows() {
  return {
#define T5G_KERNEL(kernel, result, parameters, shapes) #kernel,
#define T5G_KERNEL_OF_ARGS(kernel, Args) #kernel,
#define T5G_KERNEL_OF_TYPE(kernel, Args) #kernel,
#define T5G_KERNEL_OF_KV_TYPE(kernel, parameters) #kernel,
#include "kernels/cpu/kernels.inc"
  };
}

using Input = std::tuple<std::string, std::optional<int64_t>, std::optional<double>>;

std::optional<std::vector<Input>> inputs(const std::string& kernel, int64_t n) {
  const char* text = nullptr;
#define T5G_KERNEL(row, result, parameters, shapes) \
  if (kernel == #row) text = shapes;
#include "kernels/cpu/kernels.inc"
  if (text == nullptr) return std::nullopt;
  const kernels::Shapes shapes = kernels::parse_shapes(text);
  std::vector<Input> found;
  for (const kernels::Parameter& p : shapes) {
    if (!p.is_given || shapes.is_count(p.name)) continue;
    if (p.is_array()) {
      found.emplace_back(p.name, p.size(n * shapes.granule()), std::nullopt);
    } else {
      found.emplace_back(p.name, std::nullopt, std::stod(std::string(p.typical)));
    }
  }
  return found;
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

std::vector<std::string> empty_entries() {
  std::vector<std::string> names;
  for (const KernelTable* table : kernels::all_levels()) {
    for (const std::string& entry : kernels::empty_entries(*table)) names.push_back(table->name + (": " + entry));
  }
  return names;
}

}  // namespace

void bind_kernels(py::module_& testing) {
  using py::arg;
  py::module_ m = testing.def_submodule("kernels", "Every kernel of every CPU level, for tests and benchmarks.");
  m.def("levels", &levels, "Names of all levels built in, lowest first, and whether this CPU can run each.");
  m.def(
      "types", &types,
      "Every data type that weights can have, as in csrc/quant/types.inc: name, GGUF id, values and bytes of a block.");
  m.def("active", [] { return std::string(kernels::active().name); }, "Name of the level in use.");
  m.def("rows", &rows, "Names of all kernels, each a function of this module.");
  m.def(
      "inputs", &inputs, arg("kernel"), arg("n"),
      "What a kernel on plain numbers takes behind the level, for n (or n blocks of) values: each a name, and the size "
      "of an array or a typical number. None for a kernel that takes more than that.");
  m.def("empty_entries", &empty_entries, "Entries that are null in the table of some level, which would be a fault.");
  bind_packed_matrix(m);
  bind_split_head(m);
#define T5G_KERNEL(kernel, result, parameters, shapes)                                               \
  static_assert(kernels::describes(kernels::parse_shapes(shapes), decltype(KernelTable::kernel)())); \
  bind_row_kernel(m, #kernel, &KernelTable::kernel, shapes);
#define T5G_KERNEL_OF_ARGS(kernel, Args) bind_##kernel(m);
#define T5G_KERNEL_OF_TYPE(kernel, Args) bind_##kernel(m);
#define T5G_KERNEL_OF_KV_TYPE(kernel, parameters) bind_##kernel(m);
#include "kernels/cpu/kernels.inc"
  m.def("dequantize", &dequantize, arg("type"), arg("blocks"));
}

}  // namespace t5g::python
