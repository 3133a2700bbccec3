// The parts of a layer that encoder and decoder share.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "model/adapter.h"
#include "model/config.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/ops.h"

namespace t5g {

// Calls body(rows) for consecutive blocks of a batch, as large as the backend likes them.
template <typename Body>
void for_each_block(const Ops& ops, BatchRows all, Body body) {
  for (int64_t first = 0; first < all.n; first += ops.block_rows()) {
    const int64_t left = all.n - first;
    body(all.batch->rows(all.first + first, left < ops.block_rows() ? left : ops.block_rows()));
  }
}
template <typename Body>
void for_each_block(const Ops& ops, const Batch& batch, Body body) {
  for_each_block(ops, batch.all(), body);
}

// Of a pool of keys and values: those of one layer are not needed by the next where no target is written.
inline constexpr int kOneLayer = 0;

// Those rows of x that belong to a block.
inline Tensor rows_of(Tensor x, BatchRows rows) { return x.slice(rows.first, rows.first + rows.n); }

// What embeddings of this side are multiplied with. Exact, as in the reference's f32 runs; its bf16 runs round it.
inline float embedding_scale(const TextConfig& side) {
  return static_cast<float>(std::sqrt(static_cast<double>(side.hidden_size)));
}

// x [n, D] = scaled embeddings of the rows' tokens; the eoi token has a vector of its own, used as it is.
void embed(Ops& ops, const EmbeddingWeights& weights, int32_t eoi_token_id, BatchRows rows, Tensor x);

// Those rows of x that are image tokens become the images' features, in order and unscaled. Each of features is
// [mm_tokens_per_image, D]; there are as many rows in all as such tokens.
void insert_features(Ops& ops, const Batch& batch, int32_t image_token_id, std::span<const Tensor> features, Tensor x);

// x [b, D] += post_norm(mlp(pre_norm(x))), with mlp(h) = down(gelu_tanh(gate h) * up h).
struct FeedForward {
  const MlpWeights& mlp;
  Vector pre_norm, post_norm;
  float eps;
};
// first: which row of the pass x begins with.
void feed_forward(Ops& ops, const FeedForward& layer, const AdaptedOps& adapted, int64_t first, Tensor x,
                  Workspace& ws);

// How a layer's queries look at keys: everything but `segments` and `window` follows from the config.
AttentionSpec attention_spec(const TextConfig& config, DataType kv_type, Segments segments, Window window);
inline KvFormat kv_format(const TextConfig& config, DataType type) {
  return {type, config.num_key_value_heads, config.head_dim};
}

}  // namespace t5g
