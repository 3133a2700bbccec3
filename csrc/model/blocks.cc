// Embedding and feed-forward, the same on both sides.
#include "model/blocks.h"

#include <algorithm>
#include <cmath>

namespace t5g {

void embed(Ops& ops, const EmbeddingWeights& weights, int32_t eoi_token_id, std::span<const int32_t> ids, Tensor x) {
  // The multiplier is exact, as in the reference's f32 runs; its bf16 runs round it.
  const auto scale = static_cast<float>(std::sqrt(static_cast<double>(x.cols)));
  ops.embed(*weights.table, ids, scale, x);  // [b, D]
  if (weights.eoi_embedding == nullptr) return;
  for (int64_t i = 0; i < x.rows; ++i) {
    if (ids[static_cast<size_t>(i)] == eoi_token_id) std::copy_n(weights.eoi_embedding, x.cols, x.row(i));
  }
}

void insert_features(std::span<const int32_t> ids, int32_t image_token_id, std::span<const Tensor> features, Tensor x) {
  int64_t from = 0;
  for (int64_t i = 0; i < x.rows && !features.empty(); ++i) {
    if (ids[static_cast<size_t>(i)] != image_token_id) continue;
    std::copy_n(features.front().row(from++), x.cols, x.row(i));
    if (from < features.front().rows) continue;
    features = features.subspan(1);
    from = 0;
  }
}

void feed_forward(Ops& ops, const MlpWeights& mlp, Vector pre_norm, Vector post_norm, float eps, Tensor x,
                  Workspace& ws) {
  const Tensor h = ws.hidden(x.rows), gate = ws.gate(x.rows), up = ws.up(x.rows), out = ws.output(x.rows);
  ops.rms_norm(x, pre_norm, eps, h);                                                                   // [b, D]
  ops.geglu_mlp(h, {mlp.gate_proj.get(), gate}, {mlp.up_proj.get(), up}, {mlp.down_proj.get(), out});  // [b, D]
  ops.add_rms_norm(x, out, post_norm, eps);                                                            // [b, D]
}

AttentionSpec attention_spec(const TextConfig& config, DataType kv_type, Window window) {
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.query_pre_attn_scalar)));
  return {config.num_attention_heads, kv_format(config, kv_type), scale, config.attn_logit_softcapping, window};
}

}  // namespace t5g
