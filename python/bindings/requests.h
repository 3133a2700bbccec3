// Sources as Python gives them: read already, or ids with images and the adapters to read them with.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/adapter.h"
#include "runtime/generator.h"

namespace t5g::python {

using Ids = std::vector<int32_t>;
// (name, scale or None) of each adapter, as t5g.adapters makes them; None: the call's default.
using Choices = std::optional<std::vector<std::pair<std::string, std::optional<float>>>>;
// 8-bit pixels [S, S, 3], as t5g.images makes them.
using Pixels = pybind11::array_t<uint8_t, pybind11::array::c_style>;
// A source to read.
using Unread = std::tuple<Ids, std::vector<Pixels>, Choices>;

AdapterChoices as_choices(const Choices& given);
std::vector<std::vector<uint8_t>> copy_pixels(const std::vector<Pixels>& images);
// From an encoded source or an Unread, whose ids say themselves if tokens were cut from them.
GenerationRequest as_request(const pybind11::handle& source, const Ids& prefix);

// For what may have to wait for another thread.
template <class Body>
auto without_gil(Body&& body) {
  const pybind11::gil_scoped_release release;
  return body();
}

}  // namespace t5g::python
