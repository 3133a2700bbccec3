// A model's configuration as a dict, spelled as Hugging Face's configs spell it.
#pragma once

#include <pybind11/pybind11.h>

#include "model/config.h"

namespace t5g::python {

// What t5g.Config is made of; None for what a model lacks.
pybind11::dict config_dict(const Config& config);

}  // namespace t5g::python
