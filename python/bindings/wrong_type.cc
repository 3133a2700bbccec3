// Objects in messages: nothing that a caller gives may make the message itself fail or fill the screen.
#include "wrong_type.h"

#include <string_view>

namespace t5g::python {

namespace py = pybind11;

constexpr size_t kLongestQuote = 60;

std::string quoted(const py::handle& object) {
  const py::object text = py::reinterpret_steal<py::object>(PyObject_Repr(object.ptr()));
  Py_ssize_t size = 0;
  const char* data = text ? PyUnicode_AsUTF8AndSize(text.ptr(), &size) : nullptr;
  if (data == nullptr) {  // integers of thousands of digits, and objects whose __repr__ fails
    PyErr_Clear();
    return "a value that cannot be shown";
  }
  std::string result(data, static_cast<size_t>(size));
  if (result.size() <= kLongestQuote) return result;
  result.resize(kLongestQuote - 3);
  while (!result.empty() && (static_cast<unsigned char>(result.back()) & 0x80) != 0) result.pop_back();
  return result + "...";
}

}  // namespace t5g::python
