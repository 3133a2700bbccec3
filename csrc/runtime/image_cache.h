// Features of the images seen last, found again by their pixels: asking several questions about one image, or
// showing it in every turn, reads it once.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ops/device.h"

namespace t5g {

// What the encoder sees of one image, [mm_tokens_per_image, D] on the device.
using ImageFeatures = Floats;

// Used by the thread that holds the device.
class ImageCache {
 public:
  // What features depend on beside the pixels: the adapters of the image tower.
  using Adapters = std::vector<std::pair<uint64_t, float>>;
  // Null when the image is not among the last ones.
  std::shared_ptr<const ImageFeatures> find(std::span<const uint8_t> pixels, const Adapters& adapters);
  void insert(std::span<const uint8_t> pixels, const Adapters& adapters, std::shared_ptr<const ImageFeatures> features);

 private:
  // 3 MB each at 896 x 896.
  static constexpr size_t kMaxImages = 8;

  struct Entry {
    std::vector<uint8_t> pixels;  // kept, not hashed: comparing them takes 0.1 ms and is never wrong
    Adapters adapters;
    std::shared_ptr<const ImageFeatures> features;
  };
  std::deque<Entry> entries_;  // used last first
};

}  // namespace t5g
