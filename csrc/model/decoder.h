// The decoder: target tokens and a source's hidden states to logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "model/config.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/ops.h"

namespace t5g {

// Keys and values of one sequence or source for all layers: chunk c of layer l lies at pages[c] + l * layer_stride.
struct KvPages {
  std::span<std::byte* const> pages;
  int64_t length = 0;        // tokens
  int64_t layer_stride = 0;  // bytes; 0: a page holds a chunk of every layer, one after the other
};

// New tokens of one sequence in a batch, what it has said before, and what it is about.
struct DecoderInput {
  std::span<const int32_t> ids;  // [T]: the next tokens, at positions self.length ...
  KvPages self;                  // length: tokens before these; the pages have room for them all
  KvPages source;                // made by project_source()
};

// Shapes: R rows = tokens of all sequences of the batch, at most kBlockRows; D hidden_size, V vocab_size.
class Decoder {
 public:
  // kv_type: how keys and values are stored.
  Decoder(const Config& config, const Weights& weights, Ops& ops, DataType kv_type);

  // Every layer's keys and values of a source's hidden states [S, D_encoder], once per source. No position, no window.
  void project_source(Tensor hidden_states, const KvPages& source, Workspace& ws) const;

  // Runs the new tokens of every sequence, storing their keys and values, -> x [R, D], final hidden states.
  void forward(std::span<const DecoderInput> batch, Tensor x, Workspace& ws) const;

  // x [R, D] -> logits [R, V], softcapped where the model does that.
  void head(Tensor x, Tensor logits) const;

  // Answers queries[i] about the logits of x's row i, bit for bit as head() would; false, with nothing answered, where
  // head() is the better way.
  bool best_of_head(Tensor x, std::span<BestQuery> queries) const;

  // Bytes of one page: one chunk of every layer.
  int64_t page_bytes() const { return layer_bytes_ * config_.num_hidden_layers; }
  // Bytes of one chunk of one layer.
  int64_t layer_bytes() const { return layer_bytes_; }

 private:
  // Which keys a query looks at.
  enum class Segments { kSelf, kSource, kBoth };

  void merged_attention(const DecoderLayer& layer, LayerType type, size_t index, std::span<const DecoderInput> batch,
                        Tensor x, Workspace& ws) const;
  void self_then_cross_attention(const DecoderLayer& layer, LayerType type, size_t index,
                                 std::span<const DecoderInput> batch, Tensor x, Workspace& ws) const;
  void project_self(const DecoderLayer& layer, LayerType type, size_t index, std::span<const DecoderInput> batch,
                    Tensor x, Workspace& ws) const;
  void attend(const AttentionWeights& w, Vector post_norm, Window window, Segments segments, size_t index,
              std::span<const DecoderInput> batch, Tensor x, Workspace& ws) const;
  KvView layer_view(const KvPages& kv, size_t index, int64_t length) const {
    const int64_t stride = kv.layer_stride > 0 ? kv.layer_stride : layer_bytes_;
    return {kv.pages, static_cast<int64_t>(index) * stride, length};
  }

  const TextConfig& config_;
  const Config& model_;
  const Weights& weights_;
  Ops& ops_;
  const KvFormat kv_format_;
  const int64_t layer_bytes_;  // of one chunk
};

}  // namespace t5g
