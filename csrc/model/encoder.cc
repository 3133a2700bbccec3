// The encoder's forward pass. Each layer goes over the source twice: first for the keys and values of every token, then
// for everything that needs them all. Both passes work block by block, so no buffer but x and the pool grows with S.
#include "model/encoder.h"

#include "model/blocks.h"

namespace t5g {
Encoder::Encoder(const Config& config, const Weights& weights, Ops& ops, DataType kv_type)
    : config_(config.encoder),
      model_(config),
      weights_(weights),
      ops_(ops),
      kv_format_(t5g::kv_format(config.encoder, kv_type)) {}

void Encoder::forward(const Batch& batch, const Request& request, Tensor x, Workspace& ws,
                      FunctionRef<void()> between) const {
  const AdaptedOps adapted(ops_, request.adapters);
  const auto n_layers = static_cast<size_t>(request.n_layers);
  embed(ops_, weights_.encoder_embedding, model_.eoi_token_id, batch.all(), x);  // [S, D]
  adapted.add_embedding(&AdapterWeights::encoder_embedding, batch.all(), embedding_scale(config_), x);
  insert_features(ops_, batch, model_.image_token_id, request.images, x);  // [S, D]
  for (size_t i = 0; i < n_layers; ++i) {
    const EncoderLayer& layer = weights_.encoder_layers[i];
    for_each_block(ops_, batch.rows(0, batch.n_rows_with_keys()), [&](BatchRows rows) {
      keys_and_values(i, rows, rows_of(x, rows), adapted, ws);
      between();
    });
    for_each_block(ops_, batch, [&](BatchRows rows) {
      self_attention(i, rows, rows_of(x, rows), adapted, ws);  // [b, D]
      feed_forward(ops_, {layer.mlp, layer.pre_feedforward_norm, layer.post_feedforward_norm, config_.rms_norm_eps},
                   adapted, rows.first, rows_of(x, rows), ws);  // [b, D]
      between();
    });
  }
  if (n_layers == weights_.encoder_layers.size())
    ops_.rms_norm(x, weights_.encoder_norm, config_.rms_norm_eps, x);  // [S, D]
}

// All keys of a long source are most of its time, and windows are not. Measured without soft caps alone.
Scores Encoder::scores(LayerType type) const {
  const bool many = type == LayerType::kFullAttention && !(config_.attn_logit_softcapping > 0);
  return many ? Scores::kCoarseOfMany : Scores::kOfKeys;
}

void Encoder::keys_and_values(size_t index, BatchRows rows, Tensor x, const AdaptedOps& adapted, Workspace& ws) const {
  const EncoderLayer& layer = weights_.encoder_layers[index];
  const AttentionWeights& w = layer.self_attn;
  const Tensor h = ws.hidden(x.rows), k = ws.keys(x.rows), v = ws.values(x.rows);
  ops_.rms_norm(x, layer.pre_self_attn_norm, config_.rms_norm_eps, h);        // [b, D]
  adapted.linear(rows.first, h, {{w.k_proj.get(), k}, {w.v_proj.get(), v}});  // [b, K * Dh] each
  if (config_.use_qk_norm) ops_.rms_norm_heads(k, w.k_norm, config_.rms_norm_eps);
  ops_.rope(k, rows, ws.rotary(config_.layer_types[index]));  // [b, K * Dh]
  ops_.store_kv(k, v, rows, kOneLayer, scores(config_.layer_types[index]));
}

void Encoder::self_attention(size_t index, BatchRows rows, Tensor x, const AdaptedOps& adapted, Workspace& ws) const {
  const EncoderLayer& layer = weights_.encoder_layers[index];
  const AttentionWeights& w = layer.self_attn;
  const LayerType type = config_.layer_types[index];
  AttentionSpec spec = attention_spec(config_, kv_format_.type, Segments::kSelf, config_.window(type));
  spec.scores = scores(type);
  const Tensor h = ws.hidden(x.rows), q = ws.queries(x.rows), a = ws.attended(x.rows), out = ws.output(x.rows);
  ops_.rms_norm(x, layer.pre_self_attn_norm, config_.rms_norm_eps, h);  // [b, D]
  adapted.linear(rows.first, h, {{w.q_proj.get(), q}});                 // [b, H * Dh]
  if (config_.use_qk_norm) ops_.rms_norm_heads(q, w.q_norm, config_.rms_norm_eps);
  ops_.rope(q, rows, ws.rotary(type));                                         // [b, H * Dh]
  ops_.attention(q, spec, rows, kOneLayer, a);                                 // [b, H * Dh]
  adapted.linear(rows.first, a, {{w.o_proj.get(), out}});                      // [b, D]
  ops_.add_rms_norm(x, out, layer.post_self_attn_norm, config_.rms_norm_eps);  // [b, D]
}

}  // namespace t5g
