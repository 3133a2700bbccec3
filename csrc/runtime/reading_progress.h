// How far the reading of a source has come, by the multiplications behind it: those of the image tower for each image,
// then those of the encoder, whose layers with full attention take most of a long source.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/progress.h"
#include "model/config.h"

namespace t5g {

// Multiplications of a layer for each row, in the two passes that it makes over them.
struct LayerWork {
  double keys = 0, rest = 0;
};

// Of a source of n tokens.
inline std::vector<LayerWork> encoder_work(const TextConfig& config, int64_t n) {
  const double width = config.num_attention_heads * config.head_dim, size = config.hidden_size;
  std::vector<LayerWork> layers;
  for (const auto type : config.layer_types) {
    const Window window = config.window(type);
    const auto seen = static_cast<double>(std::min(n, window.before + window.after + 1));
    layers.push_back({.keys = 2 * size * config.num_key_value_heads * config.head_dim,
                      .rest = size * (2 * width + 3.0 * config.intermediate_size) + 2 * width * seen});
  }
  return layers;
}

inline std::vector<LayerWork> image_work(const VisionConfig& config) {
  const double size = config.hidden_size;
  const LayerWork layer{
      .keys = 3 * size * size,
      .rest = size * (size + 2.0 * config.intermediate_size) + 2 * size * static_cast<double>(config.num_patches())};
  return std::vector<LayerWork>(static_cast<size_t>(config.num_hidden_layers), layer);
}

inline double total_of(const std::vector<LayerWork>& layers) {
  double total = 0;
  for (const LayerWork& layer : layers) total += layer.keys + layer.rest;
  return total;
}

// Of one pass through a stack of layers, in rows.
class ReadingProgress {
 public:
  // progress: may be null.
  ReadingProgress(std::vector<LayerWork> layers, int64_t n, int64_t block_rows, Progress* progress)
      : layers_(std::move(layers)), n_(n), n_blocks_((n + block_rows - 1) / block_rows), progress_(progress) {
    total_ = total_of(layers_) * static_cast<double>(n_blocks_);
    if (progress_ != nullptr) progress_->update(0, n_);
  }
  // A layer goes over all blocks twice: for keys and values, then for everything else.
  void block_done() {
    const LayerWork& layer = layers_[static_cast<size_t>(n_done_ / (2 * n_blocks_))];
    done_ += n_done_++ / n_blocks_ % 2 == 0 ? layer.keys : layer.rest;
    if (progress_ != nullptr) progress_->update(static_cast<int64_t>(static_cast<double>(n_) * done_ / total_), n_);
  }
  void end() {
    if (progress_ != nullptr) progress_->update(n_, n_);
  }

 private:
  const std::vector<LayerWork> layers_;
  const int64_t n_, n_blocks_;
  Progress* const progress_;
  double total_ = 0, done_ = 0;
  int64_t n_done_ = 0;
};

// Makes one way from 0 to all tokens of a source out of the passes over its images and the encoder's.
class SourceProgress final : public Progress {
 public:
  // whole: may be null.
  SourceProgress(const Config& config, int64_t n_tokens, size_t n_images, Progress* whole)
      : whole_(whole), n_tokens_(n_tokens), n_images_(n_images) {
    if (n_images_ == 0 || whole_ == nullptr || !config.vision) return;  // without a tower its images are refused
    const double image = total_of(image_work(*config.vision)) * static_cast<double>(config.vision->num_patches());
    const double rest = total_of(encoder_work(config.encoder, n_tokens)) * static_cast<double>(n_tokens);
    image_share_ = image / (image * static_cast<double>(n_images) + rest);
    tell(0);
  }
  // What hears of the next image, and after them of the encoder.
  Progress* next() {
    if (n_images_ == 0 || whole_ == nullptr) return whole_;
    begin_ = end_;
    end_ = n_begun_++ < n_images_ ? static_cast<double>(n_begun_) * image_share_ : 1;
    return this;
  }
  void update(int64_t done, int64_t total) override {
    tell(done == total ? end_ : begin_ + (end_ - begin_) * static_cast<double>(done) / static_cast<double>(total));
  }

 private:
  void tell(double share) {
    const auto done = static_cast<int64_t>(share * static_cast<double>(n_tokens_));
    if (std::exchange(told_, done) != done) whole_->update(done, n_tokens_);
  }

  Progress* const whole_;
  const int64_t n_tokens_;
  const size_t n_images_;
  size_t n_begun_ = 0;
  double image_share_ = 0, begin_ = 0, end_ = 0;  // shares of all work
  int64_t told_ = -1;
};

}  // namespace t5g
