// The module t5g._testing: parts of the core that nothing but tests and benchmarks calls. Wheels do not have it.
#include "bindings.h"
#include "testing/testing.h"

PYBIND11_MODULE(_testing, m, pybind11::mod_gil_not_used()) {
  m.doc() = "Parts of the native core on their own, for tests and benchmarks (T5G_TESTING=ON).";
  const auto core = pybind11::module_::import("t5g._core");
  t5g::python::adopt_errors(core);
  t5g::python::bind_kernels(m);
  t5g::python::bind_stream_decoder(m);
  t5g::python::bind_sampling_steps(m, core);
}
