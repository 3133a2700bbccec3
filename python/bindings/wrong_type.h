// A Python object of a type that a call does not take; becomes t5g.ArgumentTypeError, also a TypeError.
#pragma once

#include "base/error.h"

namespace t5g::python {

class WrongType : public Error {
 public:
  using Error::Error;
};

}  // namespace t5g::python
