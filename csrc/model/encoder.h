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
  // kv_type: how one layer's keys and values are stored, and with it how attention is computed.
  Encoder(const Config& config, const Weights& weights, Ops& ops, DataType kv_type);

  // ids [S] -> x [S, D], the final hidden states. images: features for the image tokens among the ids, or none.
  // kv: pages for the keys and values of one layer, S tokens.
  void forward(std::span<const int32_t> ids, std::span<const Tensor> images, Tensor x, const KvView& kv,
               Workspace& ws) const;

  // Bytes per chunk of such pages.
  int64_t kv_chunk_bytes() const { return ops_.kv_chunk_bytes(kv_format_); }

 private:
  void keys_and_values(const EncoderLayer& layer, LayerType type, Tensor x, int64_t position, const KvView& kv,
                       Workspace& ws) const;
  void self_attention(const EncoderLayer& layer, LayerType type, Tensor x, int64_t position, const KvView& kv,
                      Workspace& ws) const;

  const TextConfig& config_;
  const Config& model_;
  const Weights& weights_;
  Ops& ops_;
  const KvFormat kv_format_;
};

}  // namespace t5g
