// The encoder's forward pass. Each layer goes over the source twice: first for the keys and values of every token, then
// for everything that needs them all. Both passes work block by block, so no buffer but x and kv grows with S.
#include "model/encoder.h"

#include <numeric>

#include "model/blocks.h"

namespace t5g {
namespace {

void number_rows(Tensor block, int64_t first, Workspace& ws) {
  ws.positions.resize(static_cast<size_t>(block.rows));
  std::iota(ws.positions.begin(), ws.positions.end(), static_cast<int32_t>(first));
}

}  // namespace

Encoder::Encoder(const Config& config, const Weights& weights, Ops& ops, DataType kv_type)
    : config_(config.encoder),
      model_(config),
      weights_(weights),
      ops_(ops),
      kv_format_(kv_format(config.encoder, kv_type)) {}

void Encoder::forward(std::span<const int32_t> ids, std::span<const Tensor> images, Tensor x, const KvView& kv,
                      Workspace& ws) const {
  ws.reserve_positions(x.rows);
  embed(ops_, weights_.encoder_embedding, model_.eoi_token_id, ids, x);  // [S, D]
  insert_features(ids, model_.image_token_id, images, x);                // [S, D]
  for (size_t i = 0; i < weights_.encoder_layers.size(); ++i) {
    const EncoderLayer& layer = weights_.encoder_layers[i];
    const LayerType type = config_.layer_types[i];
    for_each_block(x, [&](Tensor block, int64_t position) {
      number_rows(block, position, ws);
      keys_and_values(layer, type, block, position, kv, ws);
    });
    for_each_block(x, [&](Tensor block, int64_t position) {
      number_rows(block, position, ws);
      self_attention(layer, type, block, position, kv, ws);                                   // [b, D]
      feed_forward(ops_, layer.mlp, layer.pre_feedforward_norm, layer.post_feedforward_norm,  //
                   config_.rms_norm_eps, block, ws);                                          // [b, D]
    });
  }
  ops_.rms_norm(x, weights_.encoder_norm, config_.rms_norm_eps, x);  // [S, D]
}

void Encoder::keys_and_values(const EncoderLayer& layer, LayerType type, Tensor x, int64_t position, const KvView& kv,
                              Workspace& ws) const {
  const AttentionWeights& w = layer.self_attn;
  const Tensor h = ws.hidden(x.rows), k = ws.keys(x.rows), v = ws.values(x.rows);
  ops_.rms_norm(x, layer.pre_self_attn_norm, config_.rms_norm_eps, h);  // [b, D]
  ops_.linear(h, {{w.k_proj.get(), k}, {w.v_proj.get(), v}});           // [b, K * Dh] each
  if (config_.use_qk_norm) ops_.rms_norm_heads(k, w.k_norm, config_.rms_norm_eps, config_.head_dim);
  ops_.rope(k, ws.positions, ws.rotary(type));  // [b, K * Dh]
  ops_.store_kv(k, v, kv_format_, kv, position);
}

void Encoder::self_attention(const EncoderLayer& layer, LayerType type, Tensor x, int64_t position, const KvView& kv,
                             Workspace& ws) const {
  const AttentionWeights& w = layer.self_attn;
  const Tensor h = ws.hidden(x.rows), q = ws.queries(x.rows), a = ws.attended(x.rows), out = ws.output(x.rows);
  const AttentionInput input{.first_row = 0, .n_rows = x.rows, .first_position = position, .self = kv, .source = {}};
  ops_.rms_norm(x, layer.pre_self_attn_norm, config_.rms_norm_eps, h);  // [b, D]
  ops_.linear(h, {{w.q_proj.get(), q}});                                // [b, H * Dh]
  if (config_.use_qk_norm) ops_.rms_norm_heads(q, w.q_norm, config_.rms_norm_eps, config_.head_dim);
  ops_.rope(q, ws.positions, ws.rotary(type));  // [b, H * Dh]
  const AttentionSpec spec = attention_spec(config_, kv_format_.type, config_.window(type));
  ops_.attention(q, spec, {&input, 1}, a);                                     // [b, H * Dh]
  ops_.linear(a, {{w.o_proj.get(), out}});                                     // [b, D]
  ops_.add_rms_norm(x, out, layer.post_self_attn_norm, config_.rms_norm_eps);  // [b, D]
}

}  // namespace t5g
