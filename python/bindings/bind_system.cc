// What this build and machine can do.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "base/cpu_features.h"
#include "base/thread_count.h"
#include "bindings.h"
#include "kernels/cpu/kernels.h"
#include "messages.h"
#include "ops/backends.h"
#include "runtime/memory.h"

namespace t5g::python {
namespace {

namespace py = pybind11;

py::dict system_info() {
  py::list levels;
  for (const kernels::KernelTable* table : kernels::all_levels())
    if (kernels::runs_here(*table)) levels.append(table->name);
  py::dict devices;
  for (const DeviceState& device : device_states())
    devices[device.name.c_str()] = in_python((device.is_available ? "available: " : "") + device.description).text;
  py::dict info;
  info["kernels"] = kernels::active().name;
  info["kernels_available"] = levels;
  info["cpu_features"] = cpu_feature_names(cpu_features());
  info["default_threads"] = default_thread_count();
  info["devices"] = devices;
  return info;
}

}  // namespace

void bind_system(py::module_& m) {
  m.def("system_info", &system_info);
  m.def("threads_from_environment", &threads_from_environment,
        "T5G_NUM_THREADS, or OMP_NUM_THREADS where that is not set; None without either.");
  m.def("read_bandwidth", &read_bandwidth, py::arg("n_threads"), py::call_guard<py::gil_scoped_release>(),
        "Bytes per second that so many threads together read from memory.");
}

}  // namespace t5g::python
