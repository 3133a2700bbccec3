// The encoder: source tokens to hidden states.
#pragma once

#include <cstdint>
#include <span>

#include "base/function_ref.h"
#include "model/adapter.h"
#include "model/config.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/ops.h"

namespace t5g {

// Shapes: S source tokens of all sequences of the batch, D hidden_size; b rows of one block.
class Encoder {
 public:
  // kv_type: how one layer's keys and values are stored, and with it how attention is computed.
  Encoder(const Config& config, const Weights& weights, Ops& ops, DataType kv_type);

  // What a pass is asked for.
  struct Request {
    std::span<const Tensor> images;  // features for the image tokens, or none
    int n_layers;                    // as many of the first; all: the final norm too
    std::span<const AdaptedRows> adapters;
  };

  // The batch's tokens -> x [S, D], hidden states. Rows beyond a sequence's length see it and are seen by nobody. The
  // batch's pool is of kv_format(), with one layer. between: called between blocks, when nothing of the pass is left in
  // ws: whoever uses the device then uploads the batch again.
  void forward(const Batch& batch, const Request& request, Tensor x, Workspace& ws, FunctionRef<void()> between) const;

  const KvFormat& kv_format() const { return kv_format_; }

 private:
  Scores scores(LayerType type) const;
  void keys_and_values(size_t index, BatchRows rows, Tensor x, const AdaptedOps& adapted, Workspace& ws) const;
  void self_attention(size_t index, BatchRows rows, Tensor x, const AdaptedOps& adapted, Workspace& ws) const;

  const TextConfig& config_;
  const Config& model_;
  const Weights& weights_;
  Ops& ops_;
  const KvFormat kv_format_;
};

}  // namespace t5g
