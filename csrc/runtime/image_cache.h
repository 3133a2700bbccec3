// Features of the pictures seen last, found again by their pixels: asking several questions about one picture, or
// showing it in every turn, reads it once.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "tensor/buffer.h"
#include "tensor/tensor.h"

namespace t5g {

// What the encoder sees of one picture.
class ImageFeatures {
 public:
  ImageFeatures(int64_t n_tokens, int64_t hidden_size)
      : data_(static_cast<size_t>(n_tokens * hidden_size) * sizeof(float)),
        n_tokens_(n_tokens),
        hidden_size_(hidden_size) {}
  Tensor view() const { return {data_.floats(), n_tokens_, hidden_size_}; }  // [mm_tokens_per_image, D]

 private:
  Buffer data_;
  int64_t n_tokens_, hidden_size_;
};

// Used by the thread that holds the model's pass.
class ImageCache {
 public:
  // Null when the picture is not among the last ones.
  std::shared_ptr<const ImageFeatures> find(std::span<const uint8_t> pixels);
  void insert(std::span<const uint8_t> pixels, std::shared_ptr<const ImageFeatures> features);

 private:
  // 3 MB each at 896 x 896.
  static constexpr size_t kMaxImages = 8;

  struct Entry {
    std::vector<uint8_t> pixels;  // kept, not hashed: comparing them takes 0.1 ms and is never wrong
    std::shared_ptr<const ImageFeatures> features;
  };
  std::deque<Entry> entries_;  // used last first
};

}  // namespace t5g
