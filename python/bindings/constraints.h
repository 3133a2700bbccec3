// Constraints as Python has them: those of the core, and one that is written in Python.
#pragma once

#include <pybind11/pybind11.h>

namespace t5g::python {

void bind_constraints(pybind11::module_& m);

}  // namespace t5g::python
