// GgufFile for Python: metadata as plain values, tensors as they are asked for.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "bindings.h"
#include "gguf/reader.h"

namespace t5g::python {
namespace {

namespace py = pybind11;
using gguf::Value;
using gguf::ValueType;

py::str to_str(std::string_view bytes) {
  // A string of a file is not necessarily UTF-8, and looking at a damaged file should work.
  PyObject* text = PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

py::object number_array(const Value& value) {
  py::object array;
  gguf::visit_number_type(value.type, [&]<class Stored>(Stored) {
    py::array_t<Stored> numbers(static_cast<py::ssize_t>(value.count));
    // The format does not align the elements of arrays, so they are copied.
    if (value.count > 0) std::memcpy(numbers.mutable_data(), value.bytes.data(), value.bytes.size());
    array = std::move(numbers);
  });
  return array;
}

// Strings and bools become lists, arrays of numbers NumPy arrays of their own type.
py::object array_to_python(const Value& value) {
  if (value.type == ValueType::kString) {
    py::list list(value.count);
    size_t i = 0;
    gguf::for_each_string(value, [&](std::string_view text) { list[i++] = to_str(text); });
    return list;
  }
  if (value.type == ValueType::kBool) {
    py::list list(value.count);
    for (uint64_t i = 0; i < value.count; ++i) list[i] = py::bool_(gguf::load_number<uint8_t>(value, i) != 0);
    return list;
  }
  return number_array(value);
}

py::object to_python(const Value& value) {
  if (value.is_array) return array_to_python(value);
  py::object result;
  if (value.type == ValueType::kString) {
    gguf::for_each_string(value, [&](std::string_view text) { result = to_str(text); });
  } else if (value.type == ValueType::kBool) {
    result = py::bool_(gguf::load_number<uint8_t>(value, 0) != 0);
  } else {
    gguf::visit_number_type(value.type,
                            [&]<class Stored>(Stored) { result = py::cast(gguf::load_number<Stored>(value, 0)); });
  }
  return result;
}

const GgufFile::Metadata& metadata_of(const GgufFile& file, const std::string& key) {
  const GgufFile::Metadata* found = file.find_metadata(key);
  if (found == nullptr) throw py::key_error(key);
  return *found;
}

py::array_t<uint8_t> tensor_data(const GgufFile& file, const std::string& name, int64_t first_row,
                                 std::optional<int64_t> last_row) {
  const TensorInfo& tensor = file.tensor(name);
  const int64_t last = last_row.value_or(tensor.rows());
  if (first_row < 0 || last < first_row || last > tensor.rows()) throw py::index_error("rows outside the tensor");
  const size_t row = row_bytes(tensor.type, tensor.cols());
  py::array_t<uint8_t> data(static_cast<py::ssize_t>(static_cast<size_t>(last - first_row) * row));
  const std::span<uint8_t> out(data.mutable_data(), static_cast<size_t>(data.size()));
  const py::gil_scoped_release release;
  file.read(tensor, static_cast<uint64_t>(first_row) * row, std::as_writable_bytes(out));
  return data;
}

}  // namespace

void bind_gguf(py::module_& m) {
  py::class_<TensorInfo>(m, "GgufTensor", "A tensor in a GgufFile, which it keeps open.")
      .def_property_readonly("name", [](const TensorInfo& t) { return to_str(t.name); })
      .def_property_readonly(
          "type", [](const TensorInfo& t) { return gguf_type_name(t.type_id); }, "As the format spells it: \"Q8_0\".")
      .def_readonly("type_id", &TensorInfo::type_id)
      .def_readonly("supported", &TensorInfo::supported, "False: t5g cannot decode the type, and n_bytes is unknown.")
      .def_property_readonly(
          "shape", [](const TensorInfo& t) { return py::tuple(py::cast(t.shape)); }, "In NumPy's order: rows first.")
      .def_readonly("offset", &TensorInfo::offset, "In bytes, from the start of the file.")
      .def_property_readonly("n_bytes",
                             [](const TensorInfo& t) { return t.supported ? py::cast(t.size_bytes) : py::none(); })
      .def("__repr__", [](const TensorInfo& t) {
        return py::str("GgufTensor({!r}, {}, {})")
            .format(to_str(t.name), gguf_type_name(t.type_id), py::tuple(py::cast(t.shape)));
      });

  py::class_<GgufFile, std::shared_ptr<GgufFile>>(m, "GgufFile", "A GGUF file, opened and checked. Immutable.")
      .def(py::init([](const std::filesystem::path& path) {
             py::gil_scoped_release release;
             return std::make_shared<GgufFile>(path.string());
           }),
           py::arg("path"))
      .def_property_readonly("name", &GgufFile::name)
      .def_property_readonly("size_bytes", &GgufFile::size_bytes)
      .def_property_readonly("alignment", &GgufFile::alignment)
      .def("keys",
           [](const GgufFile& file) {
             py::list keys;
             for (const auto& entry : file.metadata()) keys.append(to_str(entry.key));
             return keys;
           })
      .def("__contains__", [](const GgufFile& file, const std::string& key) { return file.has_key(key); })
      .def("__getitem__",
           [](const GgufFile& file, const std::string& key) { return to_python(metadata_of(file, key).value); })
      .def(
          "get",
          [](const GgufFile& file, const std::string& key, const py::object& fallback) {
            const auto* found = file.find_metadata(key);
            return found == nullptr ? fallback : to_python(found->value);
          },
          py::arg("key"), py::arg("default") = py::none())
      .def(
          "metadata",
          [](const GgufFile& file) {
            py::dict all;
            for (const auto& entry : file.metadata()) all[to_str(entry.key)] = to_python(entry.value);
            return all;
          },
          "All keys as a new dict: numbers, str, bool; arrays of numbers as NumPy arrays, others as lists.")
      .def(
          "value_type",
          [](const GgufFile& file, const std::string& key) { return gguf::describe(metadata_of(file, key).value); },
          "\"u32\", \"string\", \"array of f32\", ...")
      .def(
          "stored_value",
          [](const GgufFile& file, const std::string& key) {
            const auto& stored = metadata_of(file, key).stored;
            return py::bytes(reinterpret_cast<const char*>(stored.data()), stored.size());
          },
          "The value's type id and value exactly as in the file, for tools that copy it.")
      .def_property_readonly("tensors", &GgufFile::tensors, py::return_value_policy::reference_internal,
                             "List of GgufTensor in the order of the file.")
      .def("tensor_data", &tensor_data, py::arg("name"), py::arg("first_row") = 0, py::arg("last_row") = py::none(),
           "The stored bytes of a tensor, or of its rows [first_row, last_row), read from the file: uint8.");
}

}  // namespace t5g::python
