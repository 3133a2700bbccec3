// Kernels on plain numbers as Python functions, made from their rows in kernels.inc alone: they take a level and what
// the shapes say is given, in that order, and return what is written, in new arrays.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cpu/shapes.h"
#include "testing/kernel_bindings.h"

namespace t5g::python {

// The arrays and numbers of one call.
class RowArguments {
 public:
  RowArguments(const kernels::Shapes& shapes, const py::args& given);

  // To be called for all parameters, in order, before any value() is asked for.
  template <typename P>
  void take(size_t i) {
    const kernels::Parameter& p = shapes_.parameters[i];
    if constexpr (std::is_pointer_v<P>) {
      using Array = py::array_t<std::remove_cv_t<std::remove_pointer_t<P>>, py::array::c_style | py::array::forcecast>;
      if (!p.is_given) {
        arrays_[i] = Array(shapes_.parameters[i].size(count_of(p)));
        std::fill_n(static_cast<std::byte*>(arrays_[i].mutable_data()), arrays_[i].nbytes(), std::byte{0});
        return;
      }
      const Array array = Array::ensure(given_[next_++]);
      if (!array) PyErr_Clear();
      require(static_cast<bool>(array), std::string(p.name) + ": expected an array of numbers.");
      check_size(p, array.size());
      arrays_[i] = p.is_written ? py::array(array.attr("copy")()) : py::array(array);
    } else if (!shapes_.is_count(p.name)) {
      numbers_[i] = given_[next_++].template cast<double>();
    }
  }

  template <typename P>
  P value(size_t i) const {
    if constexpr (std::is_pointer_v<P>) {
      return static_cast<P>(const_cast<void*>(arrays_[i].data()));  // what is written is a copy or new
    } else {
      const bool is_count = shapes_.is_count(shapes_.parameters[i].name);
      return is_count ? static_cast<P>(counts_[i]) : static_cast<P>(numbers_[i]);
    }
  }

  // The arrays that were written, behind what the kernel returned.
  py::object results(std::vector<py::object> returned) const;

 private:
  int64_t& count_of(const kernels::Parameter& p) { return counts_[shapes_.index_of(p.counted_by)]; }
  void check_size(const kernels::Parameter& p, int64_t size);

  const kernels::Shapes& shapes_;
  const py::args& given_;
  size_t next_ = 0;
  std::array<py::array, 8> arrays_;
  std::array<double, 8> numbers_ = {};
  std::array<int64_t, 8> counts_;
};

// Adds the function `name`. It runs the kernel `repeat` times, for benchmarks.
template <typename Result, typename... P>
void bind_row_kernel(py::module_& m, const char* name, Result (*KernelTable::*entry)(P...), const char* text) {
  const auto run = [=, shapes = kernels::parse_shapes(text)](const std::string& level, const py::args& given,
                                                             int repeat) {
    Result (*const kernel)(P...) = runnable(level).*entry;
    RowArguments arguments(shapes, given);
    return [&]<size_t... I>(std::index_sequence<I...>) {
      (arguments.take<P>(I), ...);
      const std::tuple<P...> values = {arguments.value<P>(I)...};
      const auto call = [&] {
        const py::gil_scoped_release release;
        for (int i = 1; i < repeat; ++i) kernel(std::get<I>(values)...);
        return kernel(std::get<I>(values)...);
      };
      if constexpr (std::is_void_v<Result>) {
        call();
        return arguments.results({});
      } else {
        return arguments.results({py::cast(call())});
      }
    }(std::index_sequence_for<P...>());
  };
  m.def(name, run, py::arg("level"), py::arg("repeat") = 1, text);
}

}  // namespace t5g::python
