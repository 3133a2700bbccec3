// The private module t5g._core. It needs no interpreter's lock: what it shares between threads has its own.
#include "bindings.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.doc() = "The native core of t5g. Private: use the package t5g.";
  t5g::python::bind_errors(m);
  t5g::python::bind_files(m);
  t5g::python::bind_gguf(m);
  t5g::python::bind_text(m);
  t5g::python::bind_image(m);
  t5g::python::bind_sampling(m);
  t5g::python::bind_runtime(m);
  t5g::python::bind_generator(m);
  t5g::python::bind_system(m);
}
