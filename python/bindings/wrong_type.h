// A Python object of a type that a call does not take; becomes t5g.ArgumentTypeError, also a TypeError.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "base/error.h"

namespace t5g::python {

class WrongType : public Error {
 public:
  using Error::Error;
};

// What a message shows of an object: its repr, cut where it is long. Never throws a Python exception.
std::string quoted(const pybind11::handle& object);

}  // namespace t5g::python
