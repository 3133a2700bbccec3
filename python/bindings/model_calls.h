// How bindings of a model call it: for what it knows, and for what it computes, which releases the GIL and notices
// Ctrl-C.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <memory>
#include <utility>

#include "base/error.h"
#include "interrupt.h"
#include "runtime/model_handle.h"

namespace t5g::python {

using ModelClass = pybind11::class_<ModelHandle, std::shared_ptr<ModelHandle>>;

// Asks the model for something that it knows.
template <class Ask>
auto known(Ask ask) {
  return [ask](ModelHandle& handle) {
    return handle.use(nullptr, [&](const Model& model, Interrupt*) { return ask(model); });
  };
}

// Calls body(Model&, Interrupt*) without the GIL, with the interrupt that Ctrl-C and close() stop.
template <class Body>
auto compute(ModelHandle& handle, Body&& body) {
  PythonInterrupt interrupt;
  const pybind11::gil_scoped_release release;
  return handle.use(&interrupt, body);
}

// What ends a call from another thread: set once.
struct StopFlag {
  std::atomic<bool> flag{false};
};

// As compute(), for a body that returns a pointer: null when `stop`, which may be null, was set before the end.
template <class Body>
auto compute_unless(const StopFlag* stop, ModelHandle& handle, Body&& body) {
  if (stop == nullptr) return compute(handle, body);
  PythonInterrupt outer;
  const pybind11::gil_scoped_release release;
  FlagInterrupt interrupt(stop->flag, &outer);
  using Result = decltype(handle.use(&interrupt, body));
  try {
    return handle.use(&interrupt, body);
  } catch (const Cancelled&) {
    if (interrupt.by_outer() || !stop->flag.load()) throw;
    return Result();
  }
}

// Adds to the class Model what is in bind_encoding.cc and bind_scoring.cc.
void bind_sources(pybind11::module_& m);
void bind_encoding(ModelClass& bound);
void bind_scoring(ModelClass& bound);

}  // namespace t5g::python
