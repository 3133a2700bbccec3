// Resizing of images: NumPy arrays in and out.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "base/error.h"
#include "bindings.h"
#include "image/resize.h"

namespace t5g::python {
namespace {

namespace py = pybind11;
using Pixels = py::array_t<uint8_t, py::array::c_style>;

Pixels resize(const Pixels& pixels, int64_t width, int64_t height) {
  if (pixels.ndim() != 3 || pixels.shape(2) != 3) {
    throw InvalidArgument("pixels have the shape " + std::string(py::str(pixels.attr("shape"))) +
                          ", expected [height, width, 3].");
  }
  for (const int64_t side : {width, height}) {
    if (side < 1 || side > kMaxImageSide)
      throw InvalidArgument("the new size is " + std::to_string(width) + " x " + std::to_string(height) +
                            " pixels, expected sides of 1 to " + std::to_string(kMaxImageSide) + ".");
  }
  Pixels out({height, width, int64_t{3}});
  uint8_t* data = out.mutable_data();
  const py::gil_scoped_release release;
  resize_image(pixels.data(), {pixels.shape(1), pixels.shape(0)}, data, {width, height});
  return out;
}

}  // namespace

void bind_image(py::module_& m) {
  using py::arg;
  m.def("resize_image", &resize, arg("pixels").noconvert(), arg("width"), arg("height"),
        "uint8 [H, W, 3], contiguous -> uint8 [height, width, 3], as Pillow's Image.resize(..., BILINEAR) gives it.");
}

}  // namespace t5g::python
