// The image tower: an image to a few rows of the encoder's sequence. A SigLIP transformer over patches, averaged down,
// normed and projected to the encoder's width.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/function_ref.h"
#include "model/adapter.h"
#include "model/config.h"
#include "model/weights.h"
#include "ops/backends.h"

namespace t5g {

// What a pass over one image writes to: made for it and dropped afterwards, because images are rare and this is large.
// Shapes: P patches, E hidden_size of the tower, Fv its intermediate_size; b rows of a block.
class VisionWorkspace {
 public:
  // pool: of VisionTower::kv_format(), with one layer.
  VisionWorkspace(const VisionConfig& config, const Backend& backend, std::shared_ptr<KvPool> pool);

  Tensor x() const { return x_.view(); }                              // [P, E]
  Tensor patches(int64_t rows) const { return patches_.view(rows); }  // [b, 3 * patch_size^2]
  Tensor queries() const { return queries_.view(); }                  // [P, E]
  Tensor hidden(int64_t rows) const { return hidden_.view(rows); }    // [b, E], as the next three
  Tensor keys(int64_t rows) const { return keys_.view(rows); }
  Tensor values(int64_t rows) const { return values_.view(rows); }
  Tensor attended(int64_t rows) const { return keys_.view(rows); }  // the keys are stored by then
  Tensor pooled() const { return pooled_.view(); }                  // [mm_tokens_per_image, E]
  Tensor inner(int64_t rows) const { return inner_.view(rows); }    // [b, Fv]
  const Batch& batch() const { return batch_; }                     // whose rows are the patches

  // Bytes of all of it. page_bytes: of the pool.
  static int64_t size_bytes(const VisionConfig& config, int64_t block_rows, int64_t page_bytes);

 private:
  Floats x_, queries_, pooled_, patches_, hidden_, keys_, values_, inner_;
  KvRun kv_;
  Batch batch_;
};

class VisionTower {
 public:
  // kv_type: how one layer's keys and values are stored, and with it how attention is computed.
  VisionTower(const VisionConfig& config, const VisionWeights& weights, Ops& ops, DataType kv_type);

  // Of the workspace's pool.
  const KvFormat& kv_format() const { return attention_.kv; }

  // pixels: 8-bit [image_size, image_size, 3] -> features [mm_tokens_per_image, D]. between: called between blocks,
  // when all of the pass is in ws and the device is free for others, after whom ws.batch() is uploaded again.
  void forward(std::span<const uint8_t> pixels, Tensor features, std::span<const AdaptedRows> adapters,
               VisionWorkspace& ws, FunctionRef<void()> between) const;

 private:
  void embed(std::span<const uint8_t> pixels, BatchRows rows, Tensor x, const AdaptedOps& adapted,
             VisionWorkspace& ws) const;
  void queries_keys_values(const VisionLayer& layer, BatchRows rows, Tensor x, const AdaptedOps& adapted,
                           VisionWorkspace& ws) const;
  void self_attention(const VisionLayer& layer, BatchRows rows, Tensor x, const AdaptedOps& adapted,
                      VisionWorkspace& ws) const;
  void feed_forward(const VisionLayer& layer, Tensor x, const AdaptedOps& adapted, VisionWorkspace& ws) const;
  void project(Tensor x, Tensor features, VisionWorkspace& ws) const;

  const VisionConfig& config_;
  const VisionWeights& weights_;
  Ops& ops_;
  const AttentionSpec attention_;
};

}  // namespace t5g
