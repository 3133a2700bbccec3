// Text between images is encoded piece by piece, with empty lines around each image, and the markers are ids from the
// start.
#include "capi/image_prompt.h"

#include <algorithm>
#include <string>

#include "capi/guard.h"
#include "image/resize.h"

namespace t5g::capi {
namespace {

constexpr int64_t kMaxRowBytes = 1 << 30;

const VisionConfig& vision_of(const Model& model) {
  const Config& config = model.config();
  if (!config.vision) {
    throw Unsupported(config.architecture == Architecture::kT5Gemma
                          ? "images: T5Gemma (the first) reads text only; T5Gemma 2 reads images."
                          : "images: this file has no vision tower. Convert the checkpoint without --no-vision.");
  }
  if (config.boi_token_id < 0 || config.eoi_token_id < 0 || config.image_token_id < 0)
    throw Unsupported("images: this file has a vision tower, but no ids of image tokens. Convert it again.");
  return *config.vision;
}

std::vector<std::string_view> split(std::string_view text, std::string_view marker) {
  std::vector<std::string_view> parts;
  for (size_t at = text.find(marker); at != std::string_view::npos; at = text.find(marker)) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + marker.size());
  }
  parts.push_back(text);
  return parts;
}

void append(std::vector<int32_t>& ids, std::span<const int32_t> more) {
  ids.insert(ids.end(), more.begin(), more.end());
}

}  // namespace

std::vector<uint8_t> pixels_for(const Model& model, const t5g_image& image, size_t index) {
  const std::string name = "images[" + std::to_string(index) + "]";
  const int64_t side = vision_of(model).image_size;
  required(image.pixels, name.c_str());
  if (std::min(image.width, image.height) < 1 || std::max(image.width, image.height) > kMaxImageSide) {
    fail(name, "is " + std::to_string(image.width) + " x " + std::to_string(image.height) +
                   " pixels, expected sides of 1 to " + std::to_string(kMaxImageSide) + ".");
  }
  const int64_t row_bytes = image.row_bytes == 0 ? 3 * image.width : image.row_bytes;
  if (row_bytes < 3 * image.width || row_bytes > kMaxRowBytes)
    fail(name, "row_bytes is " + std::to_string(row_bytes) + ", expected " + std::to_string(3 * image.width) + " to " +
                   std::to_string(kMaxRowBytes) + ": a row has " + std::to_string(image.width) + " pixels.");
  std::vector<uint8_t> rows;
  const uint8_t* pixels = image.pixels;
  if (row_bytes != 3 * image.width) {
    rows.reserve(static_cast<size_t>(3 * image.width * image.height));
    for (int64_t y = 0; y < image.height; ++y)
      rows.insert(rows.end(), pixels + y * row_bytes, pixels + y * row_bytes + 3 * image.width);
    pixels = rows.data();
  }
  std::vector<uint8_t> out(static_cast<size_t>(side * side * 3));
  resize_image(pixels, {image.width, image.height}, out.data(), {side, side});
  return out;
}

std::vector<int32_t> image_prompt(const Model& model, std::string_view text, size_t n_images, bool parse_special) {
  const int64_t n_soft = vision_of(model).mm_tokens_per_image;
  const Config& config = model.config();
  const Tokenizer& tokenizer = *model.tokenizer();
  tokenizer.require_text();
  const std::string_view marker = tokenizer.piece(config.boi_token_id);
  std::string images_alone;
  for (size_t i = 0; text.empty() && i < n_images; ++i) images_alone += (i == 0 ? "" : " ") + std::string(marker);
  const std::vector<std::string_view> parts = split(text.empty() ? images_alone : text, marker);
  if (parts.size() - 1 != n_images) {
    fail("text", "has " + std::to_string(parts.size() - 1) + " times " + std::string(marker) + ", but there are " +
                     std::to_string(n_images) + " images. Write it once where each image belongs.");
  }
  std::vector<int32_t> image(static_cast<size_t>(n_soft) + 2, config.image_token_id);
  image.front() = config.boi_token_id;
  image.back() = config.eoi_token_id;

  std::vector<int32_t> ids;
  append(ids, tokenizer.prefix_ids());
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool is_last = i + 1 == parts.size();
    const std::string part = (i == 0 ? "" : "\n\n") + std::string(parts[i]) + (is_last ? "" : "\n\n");
    append(ids, tokenizer.encode(part, {.add_special_tokens = false, .parse_special = parse_special}));
    if (!is_last) append(ids, image);
  }
  append(ids, tokenizer.suffix_ids());
  model.check_images(ids, n_images);
  return ids;
}

}  // namespace t5g::capi
