// The parts of a layer that encoder and decoder share.
#pragma once

#include <cstdint>
#include <span>

#include "model/config.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/ops.h"

namespace t5g {

// x [b, D] = scaled embeddings of ids; the eoi token has a vector of its own, used as it is.
void embed(Ops& ops, const EmbeddingWeights& weights, int32_t eoi_token_id, std::span<const int32_t> ids, Tensor x);

// x [b, D] += post_norm(mlp(pre_norm(x))), with mlp(h) = down(gelu_tanh(gate h) * up h).
void feed_forward(Ops& ops, const MlpWeights& mlp, Vector pre_norm, Vector post_norm, float eps, Tensor x,
                  Workspace& ws);

// How this layer's queries look at keys: everything but `window` follows from the config.
AttentionSpec attention_spec(const TextConfig& config, Window window);

}  // namespace t5g
