// Lets Ctrl-C (and any other Python signal handler) end a computation that has released the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>

#include "base/thread_pool.h"

namespace t5g::python {

// Made and used by one thread. Signal handlers run on Python's main thread only, so on others poll() is always false.
class PythonInterrupt final : public Interrupt {
 public:
  // Needs the GIL.
  PythonInterrupt() : next_(std::chrono::steady_clock::now() + kInterval) {
    const auto threading = pybind11::module_::import("threading");
    on_main_thread_ = threading.attr("get_ident")().equal(threading.attr("main_thread")().attr("ident"));
  }

  // True when a handler has raised: the exception is then set for this thread, as Python expects it.
  bool poll() override {
    if (!on_main_thread_) return false;
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return false;
    next_ = now + kInterval;
    const pybind11::gil_scoped_acquire acquire;
    return PyErr_CheckSignals() != 0;
  }

 private:
  // Well below the 100 ms in which a person expects an answer to Ctrl-C, and rare enough to cost nothing.
  static constexpr std::chrono::milliseconds kInterval{20};

  bool on_main_thread_;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace t5g::python
