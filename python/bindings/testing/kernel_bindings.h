// What the bindings of kernels share: arrays, checks, and the function that binds each kernel which is called with a
// struct. Kernels on plain numbers bind themselves (row_kernels.h).
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "base/error.h"
#include "kernels/cpu/kernels.h"
#include "quant/types.h"

namespace t5g::python {

namespace py = pybind11;
using kernels::KernelTable;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;
using Ints = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

inline void require(bool holds, const std::string& message) {
  if (!holds) throw InvalidArgument(message);
}

// The table of a level that this CPU can run.
const KernelTable& runnable(const std::string& level);
DataType parse_type(const std::string& name);
Floats copy_of(const Floats& x);
void require_equal_size(const Floats& a, const Floats& b, const char* names);

// Classes of weights that kernels take; called first.
void bind_packed_matrix(py::module_& m);
void bind_split_head(py::module_& m);

// bind_matmul(m), ...: each adds the function of its kernel's name.
#define T5G_KERNEL_OF_ARGS(kernel, Args) void bind_##kernel(py::module_& m);
#define T5G_KERNEL_OF_TYPE(kernel, Args) void bind_##kernel(py::module_& m);
#define T5G_KERNEL_OF_KV_TYPE(kernel, parameters) void bind_##kernel(py::module_& m);
#include "kernels/cpu/kernels.inc"

}  // namespace t5g::python
