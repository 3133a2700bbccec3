// Joins the parts, counting characters: `truncation=` where it is to be given, `device='cpu'` with what.
#include "messages.h"

#include <string>
#include <string_view>
#include <variant>

namespace t5g::python {
namespace {

namespace py = pybind11;

// A message may quote the name of a file, which on POSIX is any bytes.
py::str decoded(std::string_view bytes) {
  PyObject* text = PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "backslashreplace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

std::string written(const Argument& argument) {
  if (!argument.is_to_give) return argument.name;
  return argument.name + (argument.value.empty() ? "=" : "='" + argument.value + "'");
}

// Of "sources[3]" the first seven characters; of "the source", which is nobody's name, none.
size_t size_of_name(std::string_view name) {
  size_t n = 0;
  while (n < name.size() &&
         ((name[n] >= 'a' && name[n] <= 'z') || (name[n] >= '0' && name[n] <= '9') || name[n] == '_'))
    ++n;
  return n == name.size() || name[n] == '[' ? n : 0;
}

}  // namespace

PythonMessage in_python(const Message& message) {
  py::list texts, named;
  size_t at = 0;
  for (const Message::Part& part : message.parts()) {
    const auto* argument = std::get_if<Argument>(&part);
    const py::str text = decoded(argument == nullptr ? std::get<std::string>(part) : written(*argument));
    if (const size_t size = argument == nullptr ? 0 : size_of_name(argument->name); size > 0) {
      const size_t end = at + (argument->is_to_give ? py::len(text) : size);
      const py::object value = argument->value.empty() ? py::object(py::none()) : py::object(py::str(argument->value));
      named.append(py::make_tuple(at, end, argument->name.substr(0, size), value));
    }
    at += py::len(text);
    texts.append(text);
  }
  return {py::str("").attr("join")(texts), py::tuple(named)};
}

}  // namespace t5g::python
