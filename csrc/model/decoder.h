// The decoder: target tokens and a source's hidden states to what is asked about their logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "model/adapter.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/ops.h"

namespace t5g {

// Who wants to know what a pass looks at the source with: gets the queries of the new tokens of every layer, and their
// own keys where these share a softmax with the source's.
class AttentionWatcher {
 public:
  virtual ~AttentionWatcher() = default;
  virtual void see(size_t layer, Tensor queries, std::optional<Tensor> own_keys) = 0;  // [R, H * Dh], [R, K * Dh]
};

// Shapes: R rows = tokens of all sequences of the batch, at most Ops::block_rows(); D hidden_size, V vocab_size.
class Decoder {
 public:
  // kv_type: how keys and values are stored.
  Decoder(const Config& config, const Weights& weights, Ops& ops, DataType kv_type);

  // Stores every layer's keys and values of a source's hidden states [n, D_encoder] as the batch's rows' own, once per
  // source. No position, no window.
  void project_source(BatchRows rows, Tensor hidden_states, std::span<const AdaptedRows> adapters, Workspace& ws) const;

  // The same for a source that is kept as it is: stores what every layer's norm of its keys divides by, where there is
  // one. first: of the hidden states among the source's.
  void scale_latent(Latent& latent, Tensor hidden_states, int64_t first, Workspace& ws) const;
  LatentFormat latent_format(DataType type) const;
  // Whether an adapter changes the source's keys or values: then the matrices do not say all about them, and a latent,
  // which works by them alone, would be wrong.
  bool adapts_source(const AdapterWeights& adapter) const;

  // Runs the new tokens of every sequence, storing their keys and values, -> x [R, D], final hidden states. The batch's
  // pool is of kv_format(), with every layer.
  void forward(const Batch& batch, Tensor x, std::span<const AdaptedRows> adapters, Workspace& ws,
               AttentionWatcher* watcher = nullptr) const;

  // One layer's keys of a source's hidden states [n, D_encoder] -> [n, K * Dh], as project_source() stores them.
  Tensor source_keys(size_t index, Tensor hidden_states, std::span<const AdaptedRows> adapters, Workspace& ws) const;
  // How a layer looks at the source, and at its own tokens where it does so at once.
  AttentionSpec source_attention(size_t index) const;

  // Answers selections[i] about the logits [V] of x's row i, softcapped where the model does that.
  void select(Tensor x, std::span<const AdaptedRows> adapters, std::span<Selection* const> selections) const;

  const KvFormat& kv_format() const { return kv_format_; }

 private:
  // What all layers of a pass have in common, beside its rows.
  struct Pass {
    const Batch& batch;
    const AdaptedOps& adapted;
    Workspace& ws;
    AttentionWatcher* watcher;
  };

  bool is_merged() const { return model_.decoder_attention == DecoderAttention::kMerged; }
  void merged_attention(size_t index, Tensor x, const Pass& pass) const;
  void self_then_cross_attention(size_t index, Tensor x, const Pass& pass) const;
  Tensor project_self(size_t index, Tensor x, const Pass& pass) const;
  void add_output(const AttentionWeights& w, Vector post_norm, Tensor attended, Tensor x, const Pass& pass) const;
  // Of the source's keys and values.
  const AttentionWeights& source_projections(const DecoderLayer& layer) const {
    return is_merged() ? layer.self_attn : layer.cross_attn;
  }
  AttentionSpec spec(Segments segments, Window window, const DecoderLayer& layer) const {
    AttentionSpec spec = attention_spec(config_, kv_format_.type, segments, window);
    const AttentionWeights& w = source_projections(layer);
    spec.latent = {.k_proj = w.k_proj.get(), .v_proj = w.v_proj.get(), .k_norm = w.k_norm};
    return spec;
  }

  const TextConfig& config_;
  const Config& model_;
  const Weights& weights_;
  Ops& ops_;
  const KvFormat kv_format_;
};

}  // namespace t5g
