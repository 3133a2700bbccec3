// The image tower: a picture to a few rows of the encoder's sequence. A SigLIP transformer over patches, averaged down,
// normed and projected to the encoder's width.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/weights.h"
#include "ops/ops.h"
#include "tensor/buffer.h"

namespace t5g {

// What a pass over one picture writes to: made for it and dropped afterwards, because pictures are rare and this is
// large. Shapes: P patches, E hidden_size of the tower, Fv its intermediate_size; b rows of a block.
class VisionWorkspace {
 public:
  VisionWorkspace(const VisionConfig& config, const Ops& ops, const KvFormat& kv_format);

  Tensor x() const { return {x_.floats(), num_patches_, hidden_size_}; }              // [P, E]
  Tensor patches(int64_t rows) const { return view(patches_, rows, patch_values_); }  // [b, 3 * patch_size^2]
  Tensor queries() const { return {queries_.floats(), num_patches_, hidden_size_}; }  // [P, E]
  Tensor hidden(int64_t rows) const { return view(hidden_, rows, hidden_size_); }     // [b, E], as the next three
  Tensor keys(int64_t rows) const { return view(keys_, rows, hidden_size_); }
  Tensor values(int64_t rows) const { return view(values_, rows, hidden_size_); }
  Tensor attended(int64_t rows) const { return view(keys_, rows, hidden_size_); }  // the keys are stored by then
  Tensor pooled() const { return {pooled_.floats(), mm_tokens_per_image_, hidden_size_}; }
  Tensor inner(int64_t rows) const { return view(inner_, rows, intermediate_size_); }  // [b, Fv]
  KvView kv() const { return {.pages = pages_, .length = num_patches_}; }              // of one layer

  // Bytes of all of it.
  static int64_t size_bytes(const VisionConfig& config, const Ops& ops, const KvFormat& kv_format);

 private:
  static Tensor view(const Buffer& buffer, int64_t rows, int64_t cols) { return {buffer.floats(), rows, cols}; }

  int64_t num_patches_, mm_tokens_per_image_, hidden_size_, intermediate_size_, patch_values_;
  Buffer x_, kv_, pooled_, patches_, hidden_, queries_, keys_, values_, inner_;
  std::vector<std::byte*> pages_;
};

class VisionTower {
 public:
  // kv_type: how one layer's keys and values are stored, and with it how attention is computed.
  VisionTower(const VisionConfig& config, const VisionWeights& weights, Ops& ops, DataType kv_type);

  // Of the workspace.
  const KvFormat& kv_format() const { return attention_.kv; }

  // pixels: 8-bit [image_size, image_size, 3] -> features [mm_tokens_per_image, D].
  void forward(const uint8_t* pixels, Tensor features, VisionWorkspace& ws) const;

 private:
  void embed(const uint8_t* pixels, Tensor x, int64_t first_patch, VisionWorkspace& ws) const;
  void queries_keys_values(const VisionLayer& layer, Tensor x, int64_t first_patch, VisionWorkspace& ws) const;
  void self_attention(const VisionLayer& layer, Tensor x, int64_t first_patch, VisionWorkspace& ws) const;
  void feed_forward(const VisionLayer& layer, Tensor x, VisionWorkspace& ws) const;
  void project(Tensor x, Tensor features, VisionWorkspace& ws) const;

  const VisionConfig& config_;
  const VisionWeights& weights_;
  Ops& ops_;
  const AttentionSpec attention_;
};

}  // namespace t5g
