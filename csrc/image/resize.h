// Bilinear resizing with antialiasing of 8-bit RGB images, bit for bit as Pillow's Image.resize(size, BILINEAR) does
// it.
#pragma once

#include <cstdint>

namespace t5g {

struct ImageSize {
  int64_t width = 0;
  int64_t height = 0;
};

// The longest side that resize_image takes, in pixels: a bound on its tables of weights (8 bytes a pixel of a side).
inline constexpr int64_t kMaxImageSide = int64_t{1} << 20;

// pixels [from.height, from.width, 3] -> out [to.height, to.width, 3], row after row. The aspect ratio is the caller's
// business. Beside its tables it holds a few rows; when it enlarges, at most four times the output.
// Throws InvalidArgument for a side outside 1 to kMaxImageSide.
void resize_image(const uint8_t* pixels, ImageSize from, uint8_t* out, ImageSize to);

}  // namespace t5g
