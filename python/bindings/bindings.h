// One function per area, each adding its part to the module; called once by module.cc.
#pragma once

#include <pybind11/pybind11.h>

namespace t5g::python {

void bind_errors(pybind11::module_& m);
// Lets another module raise the exceptions of t5g._core.
void adopt_errors(const pybind11::module_& core);
void bind_files(pybind11::module_& m);
void bind_generator(pybind11::module_& m);
void bind_gguf(pybind11::module_& m);
void bind_image(pybind11::module_& m);
void bind_runtime(pybind11::module_& m);
void bind_sampling(pybind11::module_& m);
void bind_system(pybind11::module_& m);
void bind_text(pybind11::module_& m);

}  // namespace t5g::python
