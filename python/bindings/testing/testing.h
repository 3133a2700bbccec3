// One function per area of t5g._testing; called once by module.cc.
#pragma once

#include <pybind11/pybind11.h>

namespace t5g::python {

void bind_kernels(pybind11::module_& m);
void bind_stream_decoder(pybind11::module_& m);
// core: t5g._core, whose GenerationConfig the steps take.
void bind_sampling_steps(pybind11::module_& m, const pybind11::module_& core);

}  // namespace t5g::python
