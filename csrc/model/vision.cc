// The tower's forward pass. As in the encoder, each layer goes over the patches twice, block by block: first for all
// keys and values, then for the rest, so that few buffers grow with the number of patches. Queries are among them: they
// are made in the first pass, where the normed and quantised patches are at hand.
#include "model/vision.h"

#include <cmath>
#include <numeric>
#include <vector>

#include "model/blocks.h"

namespace t5g {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

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
          .window = {}};
}

int64_t kv_bytes(const VisionConfig& c, const Ops& ops, const KvFormat& format) {
  return ceil_div(c.num_patches(), kKvChunk) * ops.kv_chunk_bytes(format);
}

Buffer floats(int64_t rows, int64_t cols) { return Buffer(static_cast<size_t>(rows * cols) * sizeof(float)); }

}  // namespace

VisionWorkspace::VisionWorkspace(const VisionConfig& config, const Ops& ops, const KvFormat& kv_format)
    : num_patches_(config.num_patches()),
      mm_tokens_per_image_(config.mm_tokens_per_image),
      hidden_size_(config.hidden_size),
      intermediate_size_(config.intermediate_size),
      patch_values_(int64_t{3} * config.patch_size * config.patch_size),
      x_(floats(num_patches_, hidden_size_)),
      kv_(static_cast<size_t>(kv_bytes(config, ops, kv_format))),
      pooled_(floats(mm_tokens_per_image_, hidden_size_)),
      patches_(floats(kBlockRows, patch_values_)),
      hidden_(floats(kBlockRows, hidden_size_)),
      queries_(floats(num_patches_, hidden_size_)),
      keys_(floats(kBlockRows, hidden_size_)),
      values_(floats(kBlockRows, hidden_size_)),
      inner_(floats(kBlockRows, intermediate_size_)) {
  for (int64_t chunk = 0; chunk < ceil_div(num_patches_, kKvChunk); ++chunk)
    pages_.push_back(kv_.data() + chunk * ops.kv_chunk_bytes(kv_format));
}

int64_t VisionWorkspace::size_bytes(const VisionConfig& c, const Ops& ops, const KvFormat& kv_format) {
  const int64_t per_row = 3 * int64_t{c.hidden_size} + c.intermediate_size + int64_t{3} * c.patch_size * c.patch_size;
  return 4 * ((2 * c.num_patches() + c.mm_tokens_per_image) * c.hidden_size + kBlockRows * per_row) +
         kv_bytes(c, ops, kv_format);
}

VisionTower::VisionTower(const VisionConfig& config, const VisionWeights& weights, Ops& ops, DataType kv_type)
    : config_(config), weights_(weights), ops_(ops), attention_(attention_spec(config, kv_type)) {}

void VisionTower::forward(const uint8_t* pixels, Tensor features, VisionWorkspace& ws) const {
  const Tensor x = ws.x();
  for_each_block(x, [&](Tensor block, int64_t patch) { embed(pixels, block, patch, ws); });  // [P, E]
  for (const VisionLayer& layer : weights_.layers) {
    for_each_block(x, [&](Tensor block, int64_t patch) { queries_keys_values(layer, block, patch, ws); });
    for_each_block(x, [&](Tensor block, int64_t patch) {
      self_attention(layer, block, patch, ws);  // [b, E]
      feed_forward(layer, block, ws);           // [b, E]
    });
  }
  ops_.layer_norm(x, weights_.post_layernorm.weight, weights_.post_layernorm.bias, config_.layer_norm_eps,
                  x);        // [P, E]
  project(x, features, ws);  // [mm_tokens_per_image, D]
}

void VisionTower::embed(const uint8_t* pixels, Tensor x, int64_t first_patch, VisionWorkspace& ws) const {
  const Tensor patches = ws.patches(x.rows);
  ops_.patches(pixels, patch_spec(config_), first_patch, patches);  // [b, 3 * patch_size^2]
  const BiasedLinear& embedding = weights_.patch_embedding;
  ops_.linear(patches, {{embedding.weight.get(), x, embedding.bias}});  // [b, E]
  std::vector<int32_t> positions(static_cast<size_t>(x.rows));
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(first_patch));
  const Tensor embedded = ws.hidden(x.rows);
  ops_.embed(*weights_.position_embedding, positions, 1, embedded);  // [b, E]
  ops_.add(x, embedded.data);
}

void VisionTower::queries_keys_values(const VisionLayer& layer, Tensor x, int64_t first_patch,
                                      VisionWorkspace& ws) const {
  const Tensor h = ws.hidden(x.rows), k = ws.keys(x.rows), v = ws.values(x.rows);
  const Tensor q = ws.queries().slice(first_patch, first_patch + x.rows);
  ops_.layer_norm(x, layer.layer_norm1.weight, layer.layer_norm1.bias, config_.layer_norm_eps, h);  // [b, E]
  ops_.linear(h, {{layer.q_proj.weight.get(), q, layer.q_proj.bias},                                //
                  {layer.k_proj.weight.get(), k, layer.k_proj.bias},
                  {layer.v_proj.weight.get(), v, layer.v_proj.bias}});  // [b, E] each
  ops_.store_kv(k, v, attention_.kv, ws.kv(), first_patch);
}

void VisionTower::self_attention(const VisionLayer& layer, Tensor x, int64_t first_patch, VisionWorkspace& ws) const {
  const Tensor q = ws.queries().slice(first_patch, first_patch + x.rows), a = ws.attended(x.rows);
  const AttentionInput input{
      .first_row = 0, .n_rows = x.rows, .first_position = first_patch, .self = ws.kv(), .source = {}};
  ops_.attention(q, attention_, {&input, 1}, a);                                          // [b, E]
  ops_.linear(a, {{layer.out_proj.weight.get(), x, layer.out_proj.bias, /*add=*/true}});  // [b, E]
}

void VisionTower::feed_forward(const VisionLayer& layer, Tensor x, VisionWorkspace& ws) const {
  const Tensor h = ws.hidden(x.rows), inner = ws.inner(x.rows);
  ops_.layer_norm(x, layer.layer_norm2.weight, layer.layer_norm2.bias, config_.layer_norm_eps, h);  // [b, E]
  ops_.gelu_mlp(h, {layer.fc1.weight.get(), inner, layer.fc1.bias},
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
