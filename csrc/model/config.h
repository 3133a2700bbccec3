// Hyper-parameters of a model, under their Hugging Face names. Fixed once loaded; checked so that the rest need not.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "ops/ops.h"

namespace t5g {

enum class Architecture { kT5Gemma, kT5Gemma2 };

enum class LayerType { kSlidingAttention, kFullAttention };

// How a decoder layer attends to its own tokens and to the source.
enum class DecoderAttention {
  kSelfThenCross,  // T5Gemma: two sub-blocks with weights of their own
  kMerged,         // T5Gemma 2: one softmax over both, with one set of weights
};

struct RopeParameters {
  double rope_theta;
  double factor;  // positions are divided by it
};

// One side's text stack.
struct TextConfig {
  int vocab_size = 0;         // rows of the side's embedding table; V in the decoder
  int hidden_size = 0;        // D
  int intermediate_size = 0;  // F
  int num_hidden_layers = 0;
  int num_attention_heads = 0;  // H
  int num_key_value_heads = 0;  // K
  int head_dim = 0;             // Dh
  float query_pre_attn_scalar = 0;
  float rms_norm_eps = 0;
  float attn_logit_softcapping = 0;   // 0 = none
  float final_logit_softcapping = 0;  // 0 = none; decoder only
  int sliding_window = 0;
  int max_position_embeddings = 0;  // longest sequence that the model was made for,
  int64_t max_tokens = 0;           // and that is accepted: the same, unless the caller says otherwise
  std::vector<LayerType> layer_types;
  RopeParameters rope_sliding{};
  RopeParameters rope_full{};
  bool use_qk_norm = false;         // RMSNorm of every query and key head before RoPE
  Window sliding_attention_window;  // what the two layer types see of the side's own tokens
  Window full_attention_window;

  Window window(LayerType type) const {
    return type == LayerType::kFullAttention ? full_attention_window : sliding_attention_window;
  }
};

// The SigLIP tower and its projector.
struct VisionConfig {
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_hidden_layers = 0;
  int num_attention_heads = 0;
  int image_size = 0;  // pixels of a side
  int patch_size = 0;
  float layer_norm_eps = 0;
  int mm_tokens_per_image = 0;
  std::array<float, 3> image_mean{};  // of values in [0, 1], channel by channel
  std::array<float, 3> image_std{};

  int patches_per_side() const { return image_size / patch_size; }
  int64_t num_patches() const { return int64_t{patches_per_side()} * patches_per_side(); }
  int pool_window() const;  // patches of a side that are averaged to one token
  int head_dim() const { return hidden_size / num_attention_heads; }
};

struct Config {
  Architecture architecture{};
  std::string name;
  int vocab_size = 0;  // V, the decoder's; of an encoder alone, its own
  TextConfig encoder;
  bool has_decoder = true;  // false: the file is an encoder alone, and what is said of the decoder below means nothing
  TextConfig decoder;
  DecoderAttention decoder_attention{};
  int32_t decoder_start_token_id = 0;
  std::vector<int32_t> eos_token_ids;
  int32_t image_token_id = -1;  // -1: none
  int32_t boi_token_id = -1;
  int32_t eoi_token_id = -1;  // the token with an embedding vector of its own
  std::optional<VisionConfig> vision;
};

// Which neighbours an encoder layer with sliding attention sees in T5Gemma (the first), where readings differ.
enum class EncoderWindow {
  kExclusive,  // |i - j| < W: Google's own code, transformers before 5.4
  kInclusive,  // |i - j| <= W: transformers from 5.4 on
};

// Positions beyond this are never computed with: their angles would no longer be right.
inline constexpr int64_t kMostTokens = int64_t{1} << 22;

// Reads and checks everything but tensors. Throws ModelFormatError.
Config load_config(const GgufFile& file, EncoderWindow encoder_window);

}  // namespace t5g
