// Least recently used goes first.
#include "runtime/image_cache.h"

#include <algorithm>
#include <utility>

namespace t5g {

std::shared_ptr<const ImageFeatures> ImageCache::find(std::span<const uint8_t> pixels, const Adapters& adapters) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.adapters == adapters && std::ranges::equal(entry.pixels, pixels);
  });
  if (found == entries_.end()) return nullptr;
  Entry entry = std::move(*found);
  entries_.erase(found);
  entries_.push_front(std::move(entry));
  return entries_.front().features;
}

void ImageCache::insert(std::span<const uint8_t> pixels, const Adapters& adapters,
                        std::shared_ptr<const ImageFeatures> features) {
  if (entries_.size() == kMaxImages) entries_.pop_back();
  entries_.push_front({{pixels.begin(), pixels.end()}, adapters, std::move(features)});
}

}  // namespace t5g
