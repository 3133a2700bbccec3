// The Python exception classes, made here so that C++ errors become them without importing Python code.
#include <pybind11/pybind11.h>

#include "base/error.h"
#include "bindings.h"

namespace t5g::python {
namespace {

namespace py = pybind11;

// A new class t5g.<name> with these bases, also set on the module. Lives as long as the process, as all classes do.
py::handle make_class(py::module_& m, const char* name, const char* doc, const py::tuple& bases) {
  const std::string qualified = std::string("t5g.") + name;
  PyObject* type = PyErr_NewExceptionWithDoc(qualified.c_str(), doc, bases.ptr(), nullptr);
  if (type == nullptr) throw py::error_already_set();
  m.add_object(name, type);
  return type;
}

struct Classes {
  py::handle error, model_format, invalid_argument, input_too_long, unsupported;
};

Classes classes;

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const InputTooLong& e) {
    const py::object error = classes.input_too_long(e.what());
    error.attr("n_tokens") = e.n_tokens;
    error.attr("limit") = e.limit;
    PyErr_SetObject(classes.input_too_long.ptr(), error.ptr());
  } catch (const ModelFormatError& e) {
    PyErr_SetString(classes.model_format.ptr(), e.what());
  } catch (const InvalidArgument& e) {
    PyErr_SetString(classes.invalid_argument.ptr(), e.what());
  } catch (const FileNotFound& e) {
    PyErr_SetString(PyExc_FileNotFoundError, e.what());
  } catch (const IoError& e) {
    const py::tuple arguments = py::make_tuple(e.errno_value, e.what());
    PyErr_SetObject(PyExc_OSError, arguments.ptr());
  } catch (const Unsupported& e) {
    PyErr_SetString(classes.unsupported.ptr(), e.what());
  } catch (const Cancelled&) {
    // The signal handler of the interpreter has already set its own exception (KeyboardInterrupt) where there is one.
    if (!PyErr_Occurred()) PyErr_SetString(classes.error.ptr(), "cancelled");
  } catch (const Error& e) {
    PyErr_SetString(classes.error.ptr(), e.what());
  }
}

}  // namespace

void bind_errors(py::module_& m) {
  const py::handle exception(PyExc_Exception), value_error(PyExc_ValueError), runtime_error(PyExc_RuntimeError);
  classes.error =
      make_class(m, "T5gError", "Base of all errors that t5g raises of its own.", py::make_tuple(exception));
  classes.model_format =
      make_class(m, "ModelFormatError", "A model file that is damaged, inconsistent or not a T5Gemma.",
                 py::make_tuple(classes.error, value_error));
  classes.invalid_argument = make_class(m, "InvalidArgumentError", "An argument outside its range.",
                                        py::make_tuple(classes.error, value_error));
  classes.input_too_long =
      make_class(m, "InputTooLongError",
                 "A source or target longer than the model's limit. Attributes: n_tokens (int), limit (int).",
                 py::make_tuple(classes.invalid_argument));
  classes.unsupported = make_class(m, "UnsupportedError", "A device or CPU level that this build or machine lacks.",
                                   py::make_tuple(classes.error, runtime_error));
  py::register_exception_translator(&translate);
}

}  // namespace t5g::python
