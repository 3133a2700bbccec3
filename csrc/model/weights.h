// The weights of a model: loaded once, immutable, shared by all threads. Shapes are checked when they are looked up.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "model/config.h"
#include "ops/backends.h"

namespace t5g {

using MatrixPtr = std::unique_ptr<Matrix>;
using TablePtr = std::unique_ptr<Table>;
using Vector = Tensor;  // of one row

// q, k, v and o projections of one attention.
struct AttentionWeights {
  MatrixPtr q_proj;  // [H * Dh, D]
  MatrixPtr k_proj;  // [K * Dh, D of the keys' side]
  MatrixPtr v_proj;  // [K * Dh, D of the keys' side]
  MatrixPtr o_proj;  // [D, H * Dh]
  Vector q_norm;     // [Dh], with use_qk_norm
  Vector k_norm;     // [Dh], with use_qk_norm
};

struct MlpWeights {
  MatrixPtr gate_proj;  // [F, D]
  MatrixPtr up_proj;    // [F, D]
  MatrixPtr down_proj;  // [D, F]
};

struct EncoderLayer {
  Vector pre_self_attn_norm;  // [D], as all norms below
  AttentionWeights self_attn;
  Vector post_self_attn_norm;
  Vector pre_feedforward_norm;
  MlpWeights mlp;
  Vector post_feedforward_norm;
};

struct DecoderLayer {
  Vector pre_self_attn_norm;
  AttentionWeights self_attn;  // with merged attention, of the source as well
  Vector post_self_attn_norm;
  Vector pre_cross_attn_norm;  // these three: with self-then-cross attention
  AttentionWeights cross_attn;
  Vector post_cross_attn_norm;
  Vector pre_feedforward_norm;
  MlpWeights mlp;
  Vector post_feedforward_norm;
};

struct EmbeddingWeights {
  const Table* table = nullptr;  // [V, D]
  Vector eoi_embedding;          // [D], or none; stands in for the row of eoi_token_id, unscaled
};

// What the image tower is made of: linear layers and norms with biases, unlike the text stacks.
struct BiasedLinear {
  MatrixPtr weight;
  Vector bias;
};

struct LayerNormWeights {
  Vector weight;
  Vector bias;
};

// Shapes: E hidden_size of the tower, Fv its intermediate_size.
struct VisionLayer {
  LayerNormWeights layer_norm1;         // [E]
  BiasedLinear q_proj, k_proj, v_proj;  // [E, E]
  BiasedLinear out_proj;                // [E, E]
  LayerNormWeights layer_norm2;         // [E]
  BiasedLinear fc1;                     // [Fv, E]
  BiasedLinear fc2;                     // [E, Fv]
};

struct VisionWeights {
  BiasedLinear patch_embedding;  // [E, 3 * patch_size^2]
  TablePtr position_embedding;   // [patches, E], f32
  std::vector<VisionLayer> layers;
  LayerNormWeights post_layernorm;  // [E]
  Vector mm_soft_emb_norm;          // [E]
  MatrixPtr mm_input_projection;    // [D, E]
};

// Where vectors lie: a few blocks of the device's memory with many vectors each.
class Vectors {
 public:
  Vector add(Device& device, std::span<const float> values);

 private:
  std::vector<std::unique_ptr<Storage>> blocks_;
  int64_t used_ = 0, size_ = 0;  // floats of the last block
};

struct Weights {
  std::map<std::string, const Matrix*, std::less<>> matrices;  // by name, without ".weight"; for adapters
  Vectors vectors;                                             // owns all vectors
  std::vector<TablePtr> tables;                                // owns the embedding tables, the decoder's first
  bool is_tied = false;                                        // the decoder's table is the head's tensor
  EmbeddingWeights encoder_embedding;                          // T5Gemma 2 shares one table for both sides and the head
  EmbeddingWeights decoder_embedding;
  std::unique_ptr<Head> lm_head;  // [V, D]; none, as all that is the decoder's, without one
  std::vector<EncoderLayer> encoder_layers;
  Vector encoder_norm;
  std::vector<DecoderLayer> decoder_layers;
  Vector decoder_norm;
  std::optional<VisionWeights> vision;
};

// Where the weights come from when they are first used.
enum class LoadMode {
  kMap,   // the file, which must outlive them; embeddings are read from it as long as the model lives
  kCopy,  // a copy of the file's bytes in memory, made at once
};

// The backend must outlive the weights. Throws ModelFormatError for a missing tensor, a wrong shape or type, and a file
// that changes; IoError.
Weights load_weights(const GgufFile& file, const Config& config, const Backend& backend, LoadMode mode);

}  // namespace t5g
