// Checked here, where the Python objects are: what does not fit into 32 bits would have lost its value further down.
#include "token_ids.h"

#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "wrong_type.h"

namespace t5g::python {
namespace py = pybind11;

std::vector<int32_t> token_ids(const std::string& name, const py::object& object, int64_t vocab_size) {
  if (!py::isinstance<py::iterable>(object))
    throw WrongType(Argument{name} + ": must be token ids, got " + quoted(object) + ".");
  std::vector<int32_t> ids;
  for (const py::handle item : object) {
    const py::object index =
        PyBool_Check(item.ptr()) ? py::object() : py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
    if (!index) {
      if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
      PyErr_Clear();
      throw WrongType(Argument{name} + ": token ids must be integers, got " + quoted(item) + " at position " +
                      std::to_string(ids.size()) + ".");
    }
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    if (overflow != 0 || value < 0 || value >= vocab_size) {
      throw InvalidArgument(Argument{name} + ": token " + std::to_string(ids.size()) + " is " + quoted(index) +
                            ", outside the model's vocabulary of " + std::to_string(vocab_size) + " tokens.");
    }
    ids.push_back(static_cast<int32_t>(value));
  }
  return ids;
}

}  // namespace t5g::python
