// Token ids from what Python gives for them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

namespace t5g::python {

// From any iterable of integers (NumPy's too). Floats and bools are refused, because they are mistakes, and ids outside
// the vocabulary are named as they are, however large. name: the argument's, for messages. Throws WrongType,
// InvalidArgument.
std::vector<int32_t> token_ids(const std::string& name, const pybind11::object& ids, int64_t vocab_size);

}  // namespace t5g::python
