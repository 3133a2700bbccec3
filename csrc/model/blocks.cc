// Embedding and feed-forward, the same on both sides.
#include "model/blocks.h"

#include <cmath>
#include <vector>

namespace t5g {

void embed(Ops& ops, const EmbeddingWeights& weights, int32_t eoi_token_id, BatchRows rows, Tensor x) {
  // The multiplier is exact, as in the reference's f32 runs; its bf16 runs round it.
  const auto scale = static_cast<float>(std::sqrt(static_cast<double>(x.cols)));
  const int32_t special = weights.eoi_embedding ? eoi_token_id : -1;
  ops.embed({.table = weights.table, .scale = scale, .special_id = special, .special = weights.eoi_embedding}, rows,
            x);  // [n, D]
}

void insert_features(Ops& ops, const Batch& batch, int32_t image_token_id, std::span<const Tensor> features, Tensor x) {
  const std::vector<int32_t> places = batch.rows_with(image_token_id);
  size_t first = 0;
  for (const Tensor& image : features) {
    const auto n = static_cast<size_t>(image.rows);
    ops.scatter_rows(image, std::span(places).subspan(first, n), x);  // [mm_tokens_per_image, D] of x
    first += n;
  }
}

void feed_forward(Ops& ops, const FeedForward& layer, const AdaptedOps& adapted, int64_t first, Tensor x,
                  Workspace& ws) {
  const MlpWeights& mlp = layer.mlp;
  const Tensor h = ws.hidden(x.rows), gate = ws.gate(x.rows), up = ws.up(x.rows), out = ws.output(x.rows);
  ops.rms_norm(x, layer.pre_norm, layer.eps, h);  // [b, D]
  adapted.geglu_mlp(first, h, {mlp.gate_proj.get(), gate}, {mlp.up_proj.get(), up},
                    {mlp.down_proj.get(), out});         // [b, D]
  ops.add_rms_norm(x, out, layer.post_norm, layer.eps);  // [b, D]
}

AttentionSpec attention_spec(const TextConfig& config, DataType kv_type, Segments segments, Window window) {
  return {.n_heads = config.num_attention_heads,
          .kv = kv_format(config, kv_type),
          .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.query_pre_attn_scalar))),
          .softcap = config.attn_logit_softcapping,
          .segments = segments,
          .window = window};
}

}  // namespace t5g
