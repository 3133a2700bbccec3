// Where images stand in a source, and what the model sees of them: as python/t5g/image_prompt.py has it, without crops.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "capi/t5g.h"
#include "runtime/model.h"

namespace t5g::capi {

// Pixels of an image as it comes, resized for the model -> [image_size, image_size, 3]. Throws InvalidArgument for an
// image that is none, Unsupported where the model reads no images.
std::vector<uint8_t> pixels_for(const Model& model, const t5g_image& image, size_t index);

// Token ids of a text with so many images, each where <start_of_image> stands, or one after the other where the text is
// empty. No other text can spell their tokens. Throws InvalidArgument for another number of places.
std::vector<int32_t> image_prompt(const Model& model, std::string_view text, size_t n_images, bool parse_special);

}  // namespace t5g::capi
