// What an error says, as Python has it: a str in which arguments are keywords, and where in it which one is named.
#pragma once

#include <pybind11/pybind11.h>

#include "base/message.h"

namespace t5g::python {

struct PythonMessage {
  pybind11::str text;
  // Of (begin, end, name, value): characters of the text that a command or a server may replace by its own name for the
  // argument; value is what is to be given for it, or None.
  pybind11::tuple named;
};

PythonMessage in_python(const Message& message);

}  // namespace t5g::python
