// The encoder: source tokens to hidden states.
#pragma once

#include <cstdint>
#include <span>

#include "model/config.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/ops.h"

namespace t5g {

// Shapes: S source tokens, D hidden_size; b rows of one block, at most kBlockRows.
class Encoder {
 public:
  Encoder(const Config& config, const Weights& weights, Ops& ops);

  // ids [S] -> x [S, D], the final hidden states. images: features for the image tokens among the ids, or none.
  // kv: pages for the keys and values of one layer, S tokens.
  void forward(std::span<const int32_t> ids, std::span<const Tensor> images, Tensor x, const KvView& kv,
               Workspace& ws) const;

  // Floats per chunk of such pages.
  int64_t kv_floats_per_chunk() const;

 private:
  void keys_and_values(const EncoderLayer& layer, LayerType type, Tensor x, int64_t position, const KvView& kv,
                       Workspace& ws) const;
  void self_attention(const EncoderLayer& layer, LayerType type, Tensor x, int64_t position, const KvView& kv,
                      Workspace& ws) const;

  const TextConfig& config_;
  const Config& model_;
  const Weights& weights_;
  Ops& ops_;
};

}  // namespace t5g
