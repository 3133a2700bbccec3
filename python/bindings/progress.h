// Tells a Python function how far work has come that has released the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <utility>

#include "base/progress.h"

namespace t5g::python {

class PythonProgress final : public Progress {
 public:
  // function(done, total)
  explicit PythonProgress(pybind11::object function) : function_(std::move(function)) {}
  ~PythonProgress() override {
    const pybind11::gil_scoped_acquire acquire;
    function_ = {};
  }
  PythonProgress(const PythonProgress&) = delete;
  PythonProgress& operator=(const PythonProgress&) = delete;

  // The beginning and the end always, and between them now and then, as done grows.
  void update(int64_t done, int64_t total) override {
    const auto now = std::chrono::steady_clock::now();
    const bool is_edge = done == 0 || done >= total;
    if (done == last_ || (!is_edge && now < next_)) return;
    last_ = done;
    next_ = now + kInterval;
    const pybind11::gil_scoped_acquire acquire;
    function_(done, total);
  }

 private:
  static constexpr std::chrono::milliseconds kInterval{50};
  pybind11::object function_;
  int64_t last_ = -1;
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace t5g::python
