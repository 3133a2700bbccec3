// The decoder's forward pass, for any number of sequences with any number of new tokens each.
#include "model/decoder.h"

#include <algorithm>

#include "model/blocks.h"

namespace t5g {

Decoder::Decoder(const Config& config, const Weights& weights, Ops& ops, DataType kv_type)
    : config_(config.decoder),
      model_(config),
      weights_(weights),
      ops_(ops),
      kv_format_(kv_format(config.decoder, kv_type)),
      layer_bytes_(ops.kv_chunk_bytes(kv_format_)) {}

void Decoder::project_source(Tensor hidden_states, const KvPages& source, Workspace& ws) const {
  for (int64_t begin = 0; begin < hidden_states.rows; begin += kBlockRows) {
    const Tensor block =
        hidden_states.slice(begin, std::min(begin + kBlockRows, hidden_states.rows));  // [b, D_encoder]
    const Tensor k = ws.keys(block.rows), v = ws.values(block.rows);
    for (size_t i = 0; i < weights_.decoder_layers.size(); ++i) {
      const DecoderLayer& layer = weights_.decoder_layers[i];
      const bool merged = model_.decoder_attention == DecoderAttention::kMerged;
      const AttentionWeights& w = merged ? layer.self_attn : layer.cross_attn;
      ops_.linear(block, {{w.k_proj.get(), k}, {w.v_proj.get(), v}});  // [b, K * Dh] each
      if (config_.use_qk_norm) ops_.rms_norm_heads(k, w.k_norm, config_.rms_norm_eps, config_.head_dim);
      ops_.store_kv(k, v, kv_format_, layer_view(source, i, source.length), begin);
    }
  }
}

void Decoder::forward(std::span<const DecoderInput> batch, Tensor x, Workspace& ws) const {
  ws.positions.clear();
  int64_t row = 0, end_position = 0;
  for (const DecoderInput& input : batch) {
    const auto n = static_cast<int64_t>(input.ids.size());
    embed(ops_, weights_.decoder_embedding, model_.eoi_token_id, input.ids, x.slice(row, row + n));  // [T, D]
    for (int64_t i = 0; i < n; ++i) ws.positions.push_back(static_cast<int32_t>(input.self.length + i));
    end_position = std::max(end_position, input.self.length + n);
    row += n;
  }
  ws.reserve_positions(end_position);
  for (size_t i = 0; i < weights_.decoder_layers.size(); ++i) {
    const DecoderLayer& layer = weights_.decoder_layers[i];
    const LayerType type = config_.layer_types[i];
    if (model_.decoder_attention == DecoderAttention::kMerged) {
      merged_attention(layer, type, i, batch, x, ws);  // [R, D]
    } else {
      self_then_cross_attention(layer, type, i, batch, x, ws);  // [R, D]
    }
    feed_forward(ops_, layer.mlp, layer.pre_feedforward_norm, layer.post_feedforward_norm, config_.rms_norm_eps, x,
                 ws);  // [R, D]
  }
  ops_.rms_norm(x, weights_.decoder_norm, config_.rms_norm_eps, x);  // [R, D]
}

// T5Gemma 2: one softmax over the target's own keys and the source's, which were made with the same weights.
void Decoder::merged_attention(const DecoderLayer& layer, LayerType type, size_t index,
                               std::span<const DecoderInput> batch, Tensor x, Workspace& ws) const {
  project_self(layer, type, index, batch, x, ws);
  attend(layer.self_attn, layer.post_self_attn_norm, config_.window(type), Segments::kBoth, index, batch, x, ws);
}

// T5Gemma: attention to the target's own keys, then a sub-block of its own for the source, without positions.
void Decoder::self_then_cross_attention(const DecoderLayer& layer, LayerType type, size_t index,
                                        std::span<const DecoderInput> batch, Tensor x, Workspace& ws) const {
  project_self(layer, type, index, batch, x, ws);
  attend(layer.self_attn, layer.post_self_attn_norm, config_.window(type), Segments::kSelf, index, batch, x, ws);

  const Tensor h = ws.hidden(x.rows), q = ws.queries(x.rows);
  ops_.rms_norm(x, layer.pre_cross_attn_norm, config_.rms_norm_eps, h);  // [R, D]
  ops_.linear(h, {{layer.cross_attn.q_proj.get(), q}});                  // [R, H * Dh]
  attend(layer.cross_attn, layer.post_cross_attn_norm, Window{}, Segments::kSource, index, batch, x, ws);
}

// Queries, keys and values of the new tokens; keys and values join the sequences' caches.
void Decoder::project_self(const DecoderLayer& layer, LayerType type, size_t index, std::span<const DecoderInput> batch,
                           Tensor x, Workspace& ws) const {
  const AttentionWeights& w = layer.self_attn;
  const Tensor h = ws.hidden(x.rows), q = ws.queries(x.rows), k = ws.keys(x.rows), v = ws.values(x.rows);
  ops_.rms_norm(x, layer.pre_self_attn_norm, config_.rms_norm_eps, h);              // [R, D]
  ops_.linear(h, {{w.q_proj.get(), q}, {w.k_proj.get(), k}, {w.v_proj.get(), v}});  // [R, H * Dh], [R, K * Dh] x 2
  if (config_.use_qk_norm) {
    ops_.rms_norm_heads(q, w.q_norm, config_.rms_norm_eps, config_.head_dim);
    ops_.rms_norm_heads(k, w.k_norm, config_.rms_norm_eps, config_.head_dim);
  }
  ops_.rope(q, ws.positions, ws.rotary(type));
  ops_.rope(k, ws.positions, ws.rotary(type));
  int64_t row = 0;
  for (const DecoderInput& input : batch) {
    const auto n = static_cast<int64_t>(input.ids.size());
    const KvView own = layer_view(input.self, index, input.self.length + n);
    ops_.store_kv(k.slice(row, row + n), v.slice(row, row + n), kv_format_, own, input.self.length);
    row += n;
  }
}

// x += post_norm(o_proj(attention(ws.queries))).
void Decoder::attend(const AttentionWeights& w, Vector post_norm, Window window, Segments segments, size_t index,
                     std::span<const DecoderInput> batch, Tensor x, Workspace& ws) const {
  const Tensor q = ws.queries(x.rows), a = ws.attended(x.rows), out = ws.output(x.rows);
  ws.inputs.clear();
  int64_t row = 0;
  for (const DecoderInput& input : batch) {
    const auto n = static_cast<int64_t>(input.ids.size());
    const int64_t own = segments == Segments::kSource ? 0 : input.self.length + n;
    const int64_t source = segments == Segments::kSelf ? 0 : input.source.length;
    ws.inputs.push_back({.first_row = row,
                         .n_rows = n,
                         .first_position = input.self.length,
                         .self = layer_view(input.self, index, own),
                         .source = layer_view(input.source, index, source)});
    row += n;
  }
  ops_.attention(q, attention_spec(config_, kv_format_.type, window), ws.inputs, a);  // [R, H * Dh]
  ops_.linear(a, {{w.o_proj.get(), out}});                                            // [R, D]
  ops_.add_rms_norm(x, out, post_norm, config_.rms_norm_eps);                         // [R, D]
}

void Decoder::head(Tensor x, Tensor logits) const {
  ops_.head(x, *weights_.lm_head, logits);  // [R, V]
  if (config_.final_logit_softcapping > 0) ops_.softcap(logits, config_.final_logit_softcapping);
}

bool Decoder::best_of_head(Tensor x, std::span<BestQuery> queries) const {
  return ops_.best_of_head(x, *weights_.lm_head, config_.final_logit_softcapping, queries);
}

}  // namespace t5g
