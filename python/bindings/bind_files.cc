// InputFile and OutputFile for Python, which writes to the latter's descriptor.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "base/input_file.h"
#include "base/output_file.h"
#include "base/printable.h"
#include "bindings.h"
#include "exclusive.h"

namespace t5g::python {
namespace {

namespace py = pybind11;

const char* kind_name(OutputTarget::Kind kind) {
  switch (kind) {
    case OutputTarget::Kind::kNew:
      return "new";
    case OutputTarget::Kind::kFile:
      return "file";
    default:
      return "stream";
  }
}

py::array_t<uint8_t> read(const InputFile& file, uint64_t offset, uint64_t n_bytes) {
  if (offset > file.size_bytes() || n_bytes > file.size_bytes() - offset) {
    throw InvalidArgument(file.path() + ": " + std::to_string(n_bytes) + " bytes at " + std::to_string(offset) +
                          " lie beyond the file's end.");
  }
  py::array_t<uint8_t> data(static_cast<py::ssize_t>(n_bytes));
  const std::span<uint8_t> out(data.mutable_data(), n_bytes);
  const py::gil_scoped_release release;
  file.read(offset, std::as_writable_bytes(out));
  return data;
}

}  // namespace

void bind_files(py::module_& m) {
  // Paths in are bytes, as os.fsencode() gives them: any of them is a name here.
  py::class_<InputFile>(m, "InputFile", "A file that is read as it was when it was opened, or not at all.")
      .def(py::init([](const py::bytes& path) { return std::make_unique<InputFile>(path); }), py::arg("path"))
      .def_property_readonly("size_bytes", &InputFile::size_bytes)
      .def("read", &read, py::arg("offset"), py::arg("n_bytes"), "uint8 [n_bytes]");
  py::class_<OutputTarget>(m, "OutputTarget", "Where writing to a path leads; see csrc/base/output_file.h.")
      .def_property_readonly(
          "kind", [](const OutputTarget& target) { return kind_name(target.kind); },
          "\"new\", \"file\", or \"stream\" for what can only be written to.")
      .def_property_readonly("path", [](const OutputTarget& target) { return std::filesystem::path(target.path); })
      .def_readonly("descriptor", &OutputTarget::descriptor, "Of /dev/stdout and its like; else -1.");
  m.def("find_output", [](const py::bytes& path) { return find_output(path); }, py::arg("path"));

  m.def(
      "writing_error",
      [](const py::bytes& path, int errno_value) {
        return std::string(IoError::of_writing(printable(path), "writing", errno_value).what());
      },
      py::arg("path"), py::arg("errno_value"), "What an error of writing is told as, and what to do about it.");

  using Output = Exclusive<OutputFile>;
  py::class_<Output>(m, "OutputFile", "A file that appears whole, by commit(), or not at all.")
      .def(py::init([](const py::bytes& path, uint64_t expected_bytes) {
             return std::make_unique<Output>("the file that is being written", std::string(path), expected_bytes);
           }),
           py::arg("path"), py::arg("expected_bytes") = 0)
      .def_property_readonly(
          "path",
          [](Output& self) {
            return std::filesystem::path(self.use([](const OutputFile& file) { return file.path(); }));
          })
      .def("fileno", [](Output& self) { return self.use([](const OutputFile& file) { return file.descriptor(); }); })
      .def(
          "commit", [](Output& self) { self.use([](OutputFile& file) { file.commit(); }); },
          py::call_guard<py::gil_scoped_release>())
      .def("discard", [](Output& self) { self.use([](OutputFile& file) { file.discard(); }); });
}

}  // namespace t5g::python
