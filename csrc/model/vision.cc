// The tower's forward pass. As in the encoder, each layer goes over the patches twice, block by block: first for all
// keys and values, then for the rest, so that few buffers grow with the number of patches. Queries are among them: they
// are made in the first pass, where the normed and quantised patches are at hand.
#include "model/vision.h"

#include <cmath>
#include <utility>

#include "model/blocks.h"

namespace t5g {
namespace {

PatchSpec patch_spec(const VisionConfig& c) {
  PatchSpec spec{.image_size = c.image_size, .patch_size = c.patch_size, .mean = {}, .std = {}};
  for (size_t i = 0; i < 3; ++i) {
    spec.mean[i] = c.image_mean[i];
    spec.std[i] = c.image_std[i];
  }
  return spec;
}

AttentionSpec attention_spec(const VisionConfig& c, DataType kv_type) {
  return {.n_heads = c.num_attention_heads,
          .kv = {.type = kv_type, .n_kv_heads = c.num_attention_heads, .head_dim = c.head_dim()},
          .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim()))),
          .softcap = 0,
          .segments = Segments::kSelf,
          .window = {}};
}

int64_t patch_values(const VisionConfig& c) { return int64_t{3} * c.patch_size * c.patch_size; }

}  // namespace

VisionWorkspace::VisionWorkspace(const VisionConfig& c, const Backend& backend, std::shared_ptr<KvPool> pool)
    : x_(*backend.device, c.num_patches(), c.hidden_size),
      queries_(*backend.device, c.num_patches(), c.hidden_size),
      pooled_(*backend.device, c.mm_tokens_per_image, c.hidden_size),
      patches_(*backend.device, backend.ops->block_rows(), patch_values(c)),
      hidden_(*backend.device, backend.ops->block_rows(), c.hidden_size),
      keys_(*backend.device, backend.ops->block_rows(), c.hidden_size),
      values_(*backend.device, backend.ops->block_rows(), c.hidden_size),
      inner_(*backend.device, backend.ops->block_rows(), c.intermediate_size),
      kv_(pool, kv_chunks(c.num_patches())) {
  const int32_t first_page = kv_.first();
  batch_.clear(*pool);
  batch_.add_rows(c.num_patches(), 0, {.pages = {&first_page, 1}, .length = c.num_patches(), .is_run = true});
}

int64_t VisionWorkspace::size_bytes(const VisionConfig& c, int64_t block_rows, int64_t page_bytes) {
  const int64_t per_row = 3 * int64_t{c.hidden_size} + c.intermediate_size + patch_values(c);
  return 4 * ((2 * c.num_patches() + c.mm_tokens_per_image) * c.hidden_size + block_rows * per_row) +
         kv_chunks(c.num_patches()) * page_bytes;
}

VisionTower::VisionTower(const VisionConfig& config, const VisionWeights& weights, Ops& ops, DataType kv_type)
    : config_(config), weights_(weights), ops_(ops), attention_(attention_spec(config, kv_type)) {}

void VisionTower::forward(std::span<const uint8_t> pixels, Tensor features, std::span<const AdaptedRows> adapters,
                          VisionWorkspace& ws, FunctionRef<void()> between) const {
  const AdaptedOps adapted(ops_, adapters);
  const Tensor x = ws.x();
  ops_.upload(ws.batch());
  for_each_block(ops_, ws.batch(),
                 [&](BatchRows rows) { embed(pixels, rows, rows_of(x, rows), adapted, ws); });  // [P, E]
  for (const VisionLayer& layer : weights_.layers) {
    for_each_block(ops_, ws.batch(), [&](BatchRows rows) {
      queries_keys_values(layer, rows, rows_of(x, rows), adapted, ws);
      between();
    });
    for_each_block(ops_, ws.batch(), [&](BatchRows rows) {
      self_attention(layer, rows, rows_of(x, rows), adapted, ws);  // [b, E]
      feed_forward(layer, rows_of(x, rows), adapted, ws);          // [b, E]
      between();
    });
  }
  ops_.layer_norm(x, weights_.post_layernorm.weight, weights_.post_layernorm.bias, config_.layer_norm_eps,
                  x);        // [P, E]
  project(x, features, ws);  // [mm_tokens_per_image, D]
}

void VisionTower::embed(std::span<const uint8_t> pixels, BatchRows rows, Tensor x, const AdaptedOps& adapted,
                        VisionWorkspace& ws) const {
  const Tensor patches = ws.patches(x.rows);
  ops_.patches(pixels, patch_spec(config_), rows.first, patches);  // [b, 3 * patch_size^2]
  const BiasedLinear& embedding = weights_.patch_embedding;
  adapted.linear(rows.first, patches, {{embedding.weight.get(), x, embedding.bias}});  // [b, E]
  ops_.add_rows(x, *weights_.position_embedding, rows.first);                          // [b, E]
}

void VisionTower::queries_keys_values(const VisionLayer& layer, BatchRows rows, Tensor x, const AdaptedOps& adapted,
                                      VisionWorkspace& ws) const {
  const Tensor h = ws.hidden(x.rows), q = rows_of(ws.queries(), rows), k = ws.keys(x.rows), v = ws.values(x.rows);
  ops_.layer_norm(x, layer.layer_norm1.weight, layer.layer_norm1.bias, config_.layer_norm_eps, h);  // [b, E]
  adapted.linear(rows.first, h,
                 {{layer.q_proj.weight.get(), q, layer.q_proj.bias},  //
                  {layer.k_proj.weight.get(), k, layer.k_proj.bias},
                  {layer.v_proj.weight.get(), v, layer.v_proj.bias}});  // [b, E] each
  ops_.store_kv(k, v, rows, kOneLayer);
}

void VisionTower::self_attention(const VisionLayer& layer, BatchRows rows, Tensor x, const AdaptedOps& adapted,
                                 VisionWorkspace& ws) const {
  const Tensor q = rows_of(ws.queries(), rows), a = ws.attended(x.rows);
  ops_.attention(q, attention_, rows, kOneLayer, a);                                                     // [b, E]
  adapted.linear(rows.first, a, {{layer.out_proj.weight.get(), x, layer.out_proj.bias, /*add=*/true}});  // [b, E]
}

void VisionTower::feed_forward(const VisionLayer& layer, Tensor x, const AdaptedOps& adapted,
                               VisionWorkspace& ws) const {
  const Tensor h = ws.hidden(x.rows), inner = ws.inner(x.rows);
  ops_.layer_norm(x, layer.layer_norm2.weight, layer.layer_norm2.bias, config_.layer_norm_eps, h);  // [b, E]
  adapted.gelu_mlp(0, h, {layer.fc1.weight.get(), inner, layer.fc1.bias},
                   {layer.fc2.weight.get(), x, layer.fc2.bias, /*add=*/true});  // [b, E]
}

// Averages the grid of patches down to the image's tokens, and takes those to the encoder's width.
void VisionTower::project(Tensor x, Tensor features, VisionWorkspace& ws) const {
  const Tensor pooled = ws.pooled();
  ops_.mean_pool(x, config_.pool_window(), pooled);                                  // [tokens, E]
  ops_.rms_norm(pooled, weights_.mm_soft_emb_norm, config_.layer_norm_eps, pooled);  // [tokens, E]
  ops_.linear(pooled, {{weights_.mm_input_projection.get(), features}});             // [tokens, D]
}

}  // namespace t5g
