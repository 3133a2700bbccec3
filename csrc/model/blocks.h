// The parts of a layer that encoder and decoder share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "model/config.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/ops.h"

namespace t5g {

// Calls body(block of x, index of its first row) for consecutive blocks of at most kBlockRows rows.
template <typename Body>
void for_each_block(Tensor x, Body body) {
  for (int64_t begin = 0; begin < x.rows; begin += kBlockRows)
    body(x.slice(begin, std::min(begin + kBlockRows, x.rows)), begin);
}

// x [b, D] = scaled embeddings of ids; the eoi token has a vector of its own, used as it is.
void embed(Ops& ops, const EmbeddingWeights& weights, int32_t eoi_token_id, std::span<const int32_t> ids, Tensor x);

// The rows of x whose id is image_token_id become the images' features, in order and unscaled. Each of features is
// [mm_tokens_per_image, D]; there are as many rows in all as such ids.
void insert_features(std::span<const int32_t> ids, int32_t image_token_id, std::span<const Tensor> features, Tensor x);

// x [b, D] += post_norm(mlp(pre_norm(x))), with mlp(h) = down(gelu_tanh(gate h) * up h).
void feed_forward(Ops& ops, const MlpWeights& mlp, Vector pre_norm, Vector post_norm, float eps, Tensor x,
                  Workspace& ws);

// How this layer's queries look at keys: everything but `window` follows from the config.
AttentionSpec attention_spec(const TextConfig& config, DataType kv_type, Window window);
inline KvFormat kv_format(const TextConfig& config, DataType type) {
  return {type, config.num_key_value_heads, config.head_dim};
}

}  // namespace t5g
