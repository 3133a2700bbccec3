// The decoder's forward pass, for any number of sequences with any number of new tokens each.
#include "model/decoder.h"

#include "model/blocks.h"

namespace t5g {

Decoder::Decoder(const Config& config, const Weights& weights, Ops& ops, DataType kv_type)
    : config_(config.decoder),
      model_(config),
      weights_(weights),
      ops_(ops),
      kv_format_(t5g::kv_format(config.decoder, kv_type)) {}

void Decoder::project_source(BatchRows rows, Tensor hidden_states, std::span<const AdaptedRows> adapters,
                             Workspace& ws) const {
  const AdaptedOps adapted(ops_, adapters);
  const Tensor k = ws.keys(rows.n), v = ws.values(rows.n);
  for (size_t i = 0; i < weights_.decoder_layers.size(); ++i) {
    const DecoderLayer& layer = weights_.decoder_layers[i];
    const AttentionWeights& w = source_projections(layer);
    adapted.linear(rows.first, hidden_states, {{w.k_proj.get(), k}, {w.v_proj.get(), v}});  // [b, K * Dh] each
    if (config_.use_qk_norm) ops_.rms_norm_heads(k, w.k_norm, config_.rms_norm_eps);
    ops_.store_kv(k, v, rows, static_cast<int>(i));
  }
}

void Decoder::scale_latent(Latent& latent, Tensor hidden_states, int64_t first, Workspace& ws) const {
  if (!config_.use_qk_norm) return;
  const Tensor k = ws.keys(hidden_states.rows);
  for (size_t i = 0; i < weights_.decoder_layers.size(); ++i) {
    ops_.linear(hidden_states, {{source_projections(weights_.decoder_layers[i]).k_proj.get(), k}});  // [b, K * Dh]
    ops_.scale_latent(latent, k, first, static_cast<int>(i), config_.rms_norm_eps);
  }
}

bool Decoder::adapts_source(const AdapterWeights& adapter) const {
  for (const DecoderLayer& layer : weights_.decoder_layers) {
    const AttentionWeights& w = source_projections(layer);
    if (adapter.find(w.k_proj.get()) != nullptr || adapter.find(w.v_proj.get()) != nullptr) return true;
  }
  return false;
}

LatentFormat Decoder::latent_format(DataType type) const {
  return {.type = type,
          .hidden_size = model_.encoder.hidden_size,
          .n_layers = config_.num_hidden_layers,
          .n_kv_heads = config_.use_qk_norm ? config_.num_key_value_heads : 0};
}

Tensor Decoder::source_keys(size_t index, Tensor hidden_states, std::span<const AdaptedRows> adapters,
                            Workspace& ws) const {
  const AttentionWeights& w = source_projections(weights_.decoder_layers[index]);
  const Tensor k = ws.keys(hidden_states.rows);
  AdaptedOps(ops_, adapters).linear(0, hidden_states, {{w.k_proj.get(), k}});  // [n, K * Dh]
  if (config_.use_qk_norm) ops_.rms_norm_heads(k, w.k_norm, config_.rms_norm_eps);
  return k;
}

AttentionSpec Decoder::source_attention(size_t index) const {
  const DecoderLayer& layer = weights_.decoder_layers[index];
  return is_merged() ? spec(Segments::kBoth, config_.window(config_.layer_types[index]), layer)
                     : spec(Segments::kSource, Window{}, layer);
}

void Decoder::forward(const Batch& batch, Tensor x, std::span<const AdaptedRows> adapters, Workspace& ws,
                      AttentionWatcher* watcher) const {
  const AdaptedOps adapted(ops_, adapters);
  const Pass pass{batch, adapted, ws, watcher};
  embed(ops_, weights_.decoder_embedding, model_.eoi_token_id, batch.all(), x);  // [R, D]
  adapted.add_embedding(&AdapterWeights::decoder_embedding, batch.all(), embedding_scale(config_), x);
  for (size_t i = 0; i < weights_.decoder_layers.size(); ++i) {
    const DecoderLayer& layer = weights_.decoder_layers[i];
    if (is_merged()) {
      merged_attention(i, x, pass);  // [R, D]
    } else {
      self_then_cross_attention(i, x, pass);  // [R, D]
    }
    feed_forward(ops_, {layer.mlp, layer.pre_feedforward_norm, layer.post_feedforward_norm, config_.rms_norm_eps},
                 adapted, 0, x, ws);  // [R, D]
  }
  ops_.rms_norm(x, weights_.decoder_norm, config_.rms_norm_eps, x);  // [R, D]
}

// T5Gemma 2: one softmax over the target's own keys and the source's, which were made with the same weights.
void Decoder::merged_attention(size_t index, Tensor x, const Pass& pass) const {
  const DecoderLayer& layer = weights_.decoder_layers[index];
  const Tensor q = project_self(index, x, pass), a = pass.ws.attended(x.rows);  // [R, H * Dh]
  if (pass.watcher != nullptr) pass.watcher->see(index, q, pass.ws.keys(x.rows));
  ops_.attention(q, source_attention(index), pass.batch.all(), static_cast<int>(index), a);  // [R, H * Dh]
  add_output(layer.self_attn, layer.post_self_attn_norm, a, x, pass);                        // [R, D]
}

// T5Gemma: attention to the target's own keys, then a sub-block of its own for the source, without positions.
void Decoder::self_then_cross_attention(size_t index, Tensor x, const Pass& pass) const {
  const DecoderLayer& layer = weights_.decoder_layers[index];
  const Window window = config_.window(config_.layer_types[index]);
  const int i = static_cast<int>(index);
  const Tensor q = project_self(index, x, pass), a = pass.ws.attended(x.rows);      // [R, H * Dh]
  ops_.attention(q, spec(Segments::kSelf, window, layer), pass.batch.all(), i, a);  // [R, H * Dh]
  add_output(layer.self_attn, layer.post_self_attn_norm, a, x, pass);               // [R, D]

  const Tensor h = pass.ws.hidden(x.rows);
  ops_.rms_norm(x, layer.pre_cross_attn_norm, config_.rms_norm_eps, h);  // [R, D]
  pass.adapted.linear(0, h, {{layer.cross_attn.q_proj.get(), q}});       // [R, H * Dh]
  if (pass.watcher != nullptr) pass.watcher->see(index, q, std::nullopt);
  ops_.attention(q, source_attention(index), pass.batch.all(), i, a);    // [R, H * Dh]
  add_output(layer.cross_attn, layer.post_cross_attn_norm, a, x, pass);  // [R, D]
}

// Queries [R, H * Dh] of the new tokens; their keys and values join the sequences' caches.
Tensor Decoder::project_self(size_t index, Tensor x, const Pass& pass) const {
  const Batch& batch = pass.batch;
  Workspace& ws = pass.ws;
  const DecoderLayer& layer = weights_.decoder_layers[index];
  const AttentionWeights& w = layer.self_attn;
  const Rotary& rotary = ws.rotary(config_.layer_types[index]);
  const Tensor h = ws.hidden(x.rows), q = ws.queries(x.rows), k = ws.keys(x.rows), v = ws.values(x.rows);
  ops_.rms_norm(x, layer.pre_self_attn_norm, config_.rms_norm_eps, h);  // [R, D]
  pass.adapted.linear(0, h,
                      {{w.q_proj.get(), q}, {w.k_proj.get(), k}, {w.v_proj.get(), v}});  // [R, H * Dh], [R, K * Dh] x 2
  if (config_.use_qk_norm) {
    ops_.rms_norm_heads(q, w.q_norm, config_.rms_norm_eps);
    ops_.rms_norm_heads(k, w.k_norm, config_.rms_norm_eps);
  }
  ops_.rope(q, batch.all(), rotary);
  ops_.rope(k, batch.all(), rotary);
  ops_.store_kv(k, v, batch.all(), static_cast<int>(index));
  return q;
}

// x += post_norm(o_proj(attended)).
void Decoder::add_output(const AttentionWeights& w, Vector post_norm, Tensor attended, Tensor x,
                         const Pass& pass) const {
  const Tensor out = pass.ws.output(x.rows);
  pass.adapted.linear(0, attended, {{w.o_proj.get(), out}});   // [R, D]
  ops_.add_rms_norm(x, out, post_norm, config_.rms_norm_eps);  // [R, D]
}

void Decoder::select(Tensor x, std::span<const AdaptedRows> adapters, std::span<Selection* const> selections) const {
  AdaptedOps(ops_, adapters).select(x, *weights_.lm_head, config_.final_logit_softcapping, selections);
}

}  // namespace t5g
