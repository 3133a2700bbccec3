// The Python exception classes, made here so that C++ errors become them without importing Python code.
#include <pybind11/pybind11.h>

#include <string>

#include "base/error.h"
#include "bindings.h"
#include "messages.h"
#include "wrong_type.h"

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
  py::handle error, model_format, invalid_argument, input_too_long, unsupported, argument_type, device, out_of_memory;
};

Classes classes;

// Which arguments it names goes with it, for who has other names for them: see python/t5g/messages.py.
py::object make(py::handle type, const Error& error) {
  const PythonMessage message = in_python(error.message());
  const py::object made = type(message.text);
  if (!message.named.empty()) made.attr("named_arguments") = message.named;
  return made;
}

void set(py::handle type, const Error& error) { PyErr_SetObject(type.ptr(), make(type, error).ptr()); }

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const InputTooLong& e) {
    const py::object error = make(classes.input_too_long, e);
    error.attr("n_tokens") = e.n_tokens;
    error.attr("limit") = e.limit;
    PyErr_SetObject(classes.input_too_long.ptr(), error.ptr());
  } catch (const ModelFormatError& e) {
    set(classes.model_format, e);
  } catch (const WrongType& e) {
    set(classes.argument_type, e);
  } catch (const InvalidArgument& e) {
    set(classes.invalid_argument, e);
  } catch (const FileNotFound& e) {
    set(PyExc_FileNotFoundError, e);
  } catch (const IoError& e) {
    const py::tuple arguments = py::make_tuple(e.errno_value, in_python(e.message()).text);
    PyErr_SetObject(PyExc_OSError, arguments.ptr());
  } catch (const Unsupported& e) {
    set(classes.unsupported, e);
  } catch (const DeviceError& e) {
    set(classes.device, e);
  } catch (const OutOfMemory& e) {
    set(classes.out_of_memory, e);
  } catch (const Cancelled&) {
    // The signal handler of the interpreter has already set its own exception (KeyboardInterrupt) where there is one.
    if (!PyErr_Occurred()) PyErr_SetString(classes.error.ptr(), "cancelled");
  } catch (const Error& e) {
    set(classes.error, e);
  }
}

}  // namespace

void bind_errors(py::module_& m) {
  const py::handle exception(PyExc_Exception), value_error(PyExc_ValueError), type_error(PyExc_TypeError),
      runtime_error(PyExc_RuntimeError), memory_error(PyExc_MemoryError);
  classes.error =
      make_class(m, "T5gError", "Base of all errors that t5g raises of its own.", py::make_tuple(exception));
  classes.model_format =
      make_class(m, "ModelFormatError", "A model file that is damaged, inconsistent or not a T5Gemma.",
                 py::make_tuple(classes.error, value_error));
  classes.invalid_argument = make_class(m, "InvalidArgumentError", "An argument outside its range.",
                                        py::make_tuple(classes.error, value_error));
  classes.argument_type = make_class(m, "ArgumentTypeError", "An argument of a type that the call does not take.",
                                     py::make_tuple(classes.error, type_error));
  classes.input_too_long =
      make_class(m, "InputTooLongError",
                 "A source or target longer than the model's limit. Attributes: n_tokens (int), limit (int).",
                 py::make_tuple(classes.invalid_argument));
  classes.unsupported = make_class(m, "UnsupportedError", "A device or CPU level that this build or machine lacks.",
                                   py::make_tuple(classes.error, runtime_error));
  classes.device = make_class(m, "DeviceError", "A device that has failed in use: out of memory, lost.",
                              py::make_tuple(classes.error, runtime_error));
  classes.out_of_memory = make_class(m, "OutOfMemoryError", "What was asked for needs more memory than there is.",
                                     py::make_tuple(classes.error, memory_error));
  py::register_exception_translator(&translate);
}

void adopt_errors(const py::module_& core) {
  const auto class_named = [&](const char* name) { return core.attr(name).cast<py::object>().release(); };
  classes = {.error = class_named("T5gError"),
             .model_format = class_named("ModelFormatError"),
             .invalid_argument = class_named("InvalidArgumentError"),
             .input_too_long = class_named("InputTooLongError"),
             .unsupported = class_named("UnsupportedError"),
             .argument_type = class_named("ArgumentTypeError"),
             .device = class_named("DeviceError"),
             .out_of_memory = class_named("OutOfMemoryError")};
  // Local, because a C++ exception's type need not be known by its name across two modules.
  py::register_local_exception_translator(&translate);
}

}  // namespace t5g::python
