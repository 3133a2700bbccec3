// OutputFile for Python, which writes to its descriptor.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>

#include "base/output_file.h"
#include "bindings.h"

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

}  // namespace

void bind_files(py::module_& m) {
  // Paths in are bytes, as os.fsencode() gives them: any of them is a name here.
  py::class_<OutputTarget>(m, "OutputTarget", "Where writing to a path leads; see csrc/base/output_file.h.")
      .def_property_readonly(
          "kind", [](const OutputTarget& target) { return kind_name(target.kind); },
          "\"new\", \"file\", or \"stream\" for what can only be written to.")
      .def_property_readonly("path", [](const OutputTarget& target) { return std::filesystem::path(target.path); })
      .def_readonly("descriptor", &OutputTarget::descriptor, "Of /dev/stdout and its like; else -1.");
  m.def("find_output", [](const py::bytes& path) { return find_output(path); }, py::arg("path"));

  py::class_<OutputFile>(m, "OutputFile", "A file that appears whole, by commit(), or not at all.")
      .def(py::init([](const py::bytes& path, uint64_t expected_bytes) {
             return std::make_unique<OutputFile>(path, expected_bytes);
           }),
           py::arg("path"), py::arg("expected_bytes") = 0)
      .def_property_readonly("path", [](const OutputFile& file) { return std::filesystem::path(file.path()); })
      .def("fileno", &OutputFile::descriptor)
      .def("commit", &OutputFile::commit, py::call_guard<py::gil_scoped_release>())
      .def("discard", &OutputFile::discard);
}

}  // namespace t5g::python
