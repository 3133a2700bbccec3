// Tensors by name, each with the shape that the config says.
#include "model/weights.h"

#include <memory>
#include <string>
#include <utility>

#include "quant/types.h"

namespace t5g {
namespace {

constexpr int64_t kBlockFloats = 16384;  // 64 KB
constexpr int64_t kAlignment = 16;       // floats; a cache line

// Looks tensors up under a prefix such as "enc.blk.3.".
class Loader {
 public:
  Loader(const GgufFile& file, const Backend& backend, Weights& weights, LoadMode mode, std::string prefix = "")
      : file_(file), backend_(backend), weights_(weights), mode_(mode), prefix_(std::move(prefix)) {}

  Loader at(const std::string& more) const { return {file_, backend_, weights_, mode_, prefix_ + more}; }

  MatrixPtr matrix(const std::string& name, int64_t rows, int64_t cols, bool as_q8_0 = false) const {
    WeightView weight = view(name, {rows, cols});
    weight.as_q8_0 = as_q8_0;
    return named(name, backend_.ops->load(weight));
  }
  TablePtr table(const std::string& name, int64_t rows, int64_t cols) const {
    return backend_.ops->load_table(view(name, {rows, cols}));
  }
  std::unique_ptr<Head> head(const std::string& name, int64_t rows, int64_t cols) const {
    return backend_.ops->load_head(view(name, {rows, cols}));
  }
  // One tensor as both.
  std::pair<TablePtr, std::unique_ptr<Head>> table_and_head(const std::string& name, int64_t rows, int64_t cols) const {
    const WeightView weight = view(name, {rows, cols});
    return {backend_.ops->load_table(weight), backend_.ops->load_head(weight)};
  }

  // A tensor of more dimensions, read as the matrix of its first against all others.
  MatrixPtr flattened(const std::string& name, const std::vector<int64_t>& shape) const {
    return named(name, backend_.ops->load(view(name, shape)));
  }

  Vector vector(const std::string& name, int64_t size) const { return uploaded(name + ".weight", size); }
  Vector bias(const std::string& name, int64_t size) const { return uploaded(name + ".bias", size); }

  BiasedLinear linear(const std::string& name, int64_t rows, int64_t cols) const {
    return {matrix(name, rows, cols), bias(name, rows)};
  }
  LayerNormWeights layer_norm(const std::string& name, int64_t size) const {
    return {vector(name, size), bias(name, size)};
  }

  // Throws unless the tensor, whose name is given with its suffix, is one of floats.
  const TensorInfo& floats(const std::string& name, const std::vector<int64_t>& shape) const {
    const TensorInfo& tensor = file_.tensor(prefix_ + name, shape);
    if (tensor.type != DataType::kF32) {
      file_.fail_tensor(tensor.name, "has type " + type_name(tensor.type) + ", expected f32. Convert the model again.");
    }
    return tensor;
  }

  bool has(const std::string& name) const { return file_.find(prefix_ + name + ".weight") != nullptr; }

 private:
  MatrixPtr named(const std::string& name, MatrixPtr matrix) const {
    weights_.matrices.emplace(prefix_ + name, matrix.get());
    return matrix;
  }

  Vector uploaded(const std::string& name, int64_t size) const {
    std::vector<float> values(static_cast<size_t>(size));
    file_.read(floats(name, {size}), 0, std::as_writable_bytes(std::span(values)));
    return weights_.vectors.add(*backend_.device, values);
  }

  WeightView view(const std::string& name, const std::vector<int64_t>& shape) const {
    const TensorInfo& tensor = file_.tensor(prefix_ + name + ".weight", shape);
    WeightView weight{.type = tensor.type, .rows = shape[0], .cols = 1, .bytes = file_.in_memory(tensor)};
    for (size_t i = 1; i < shape.size(); ++i) weight.cols *= shape[i];
    if (!weight.bytes.empty()) return weight;
    if (mode_ == LoadMode::kMap) {
      weight.file = file_.file();
      weight.offset = tensor.offset;
      return weight;
    }
    auto copy = std::make_shared<Buffer>(tensor.size_bytes);
    weight.bytes = {copy->data(), tensor.size_bytes};
    file_.read(tensor, 0, {copy->data(), tensor.size_bytes});
    weight.copy = std::move(copy);
    return weight;
  }

  const GgufFile& file_;
  const Backend& backend_;
  Weights& weights_;  // that own what is loaded
  const LoadMode mode_;
  const std::string prefix_;
};

// prefix: "attn" or "cross_attn"; source_size: width of the states that keys and values are made from.
AttentionWeights load_attention(const Loader& at, const std::string& prefix, const TextConfig& c, int64_t source_size) {
  const int64_t q_width = static_cast<int64_t>(c.num_attention_heads) * c.head_dim;
  const int64_t kv_width = static_cast<int64_t>(c.num_key_value_heads) * c.head_dim;
  AttentionWeights w;
  w.q_proj = at.matrix(prefix + "_q", q_width, c.hidden_size);
  w.k_proj = at.matrix(prefix + "_k", kv_width, source_size);
  w.v_proj = at.matrix(prefix + "_v", kv_width, source_size);
  w.o_proj = at.matrix(prefix + "_o", c.hidden_size, q_width);
  if (c.use_qk_norm) {
    w.q_norm = at.vector(prefix + "_q_norm", c.head_dim);
    w.k_norm = at.vector(prefix + "_k_norm", c.head_dim);
  }
  return w;
}

MlpWeights load_mlp(const Loader& at, const TextConfig& c) {
  return {.gate_proj = at.matrix("ffn_gate", c.intermediate_size, c.hidden_size),
          .up_proj = at.matrix("ffn_up", c.intermediate_size, c.hidden_size),
          .down_proj = at.matrix("ffn_down", c.hidden_size, c.intermediate_size)};
}

EncoderLayer load_encoder_layer(const Loader& at, const TextConfig& c) {
  return {.pre_self_attn_norm = at.vector("attn_norm", c.hidden_size),
          .self_attn = load_attention(at, "attn", c, c.hidden_size),
          .post_self_attn_norm = at.vector("attn_post_norm", c.hidden_size),
          .pre_feedforward_norm = at.vector("ffn_norm", c.hidden_size),
          .mlp = load_mlp(at, c),
          .post_feedforward_norm = at.vector("ffn_post_norm", c.hidden_size)};
}

DecoderLayer load_decoder_layer(const Loader& at, const Config& config) {
  const TextConfig& c = config.decoder;
  DecoderLayer layer{.pre_self_attn_norm = at.vector("attn_norm", c.hidden_size),
                     .self_attn = load_attention(at, "attn", c, c.hidden_size),
                     .post_self_attn_norm = at.vector("attn_post_norm", c.hidden_size),
                     .pre_cross_attn_norm = {},
                     .cross_attn = {},
                     .post_cross_attn_norm = {},
                     .pre_feedforward_norm = at.vector("ffn_norm", c.hidden_size),
                     .mlp = load_mlp(at, c),
                     .post_feedforward_norm = at.vector("ffn_post_norm", c.hidden_size)};
  if (config.decoder_attention == DecoderAttention::kSelfThenCross) {
    layer.pre_cross_attn_norm = at.vector("cross_attn_norm", c.hidden_size);
    layer.cross_attn = load_attention(at, "cross_attn", c, config.encoder.hidden_size);
    layer.post_cross_attn_norm = at.vector("cross_attn_post_norm", c.hidden_size);
  }
  return layer;
}

void load_embeddings(const Loader& at, const Config& config, Weights& weights) {
  const auto own = [&](TablePtr table) { return weights.tables.emplace_back(std::move(table)).get(); };
  const int64_t vocab = config.vocab_size;
  if (!config.has_decoder) {
    const int64_t width = config.encoder.hidden_size;
    weights.encoder_embedding.table = own(at.table("token_embd", vocab, width));
    if (config.eoi_token_id >= 0) weights.encoder_embedding.eoi_embedding = at.vector("token_embd_eoi", width);
    return;
  }
  const int64_t width = config.decoder.hidden_size;
  weights.is_tied = !at.has("output");
  if (weights.is_tied) {
    auto [table, head] = at.table_and_head("token_embd", vocab, width);
    weights.decoder_embedding.table = own(std::move(table));
    weights.lm_head = std::move(head);
  } else {
    weights.decoder_embedding.table = own(at.table("token_embd", vocab, width));
    weights.lm_head = at.head("output", vocab, width);
  }
  if (config.eoi_token_id >= 0) weights.decoder_embedding.eoi_embedding = at.vector("token_embd_eoi", width);
  // T5Gemma 2 shares the decoder's table, but for fine-tunes that have untied it.
  weights.encoder_embedding = weights.decoder_embedding;
  if (config.architecture == Architecture::kT5Gemma || at.has("enc.token_embd"))
    weights.encoder_embedding.table =
        own(at.table("enc.token_embd", config.encoder.vocab_size, config.encoder.hidden_size));
  if (config.eoi_token_id >= 0 && at.has("enc.token_embd_eoi"))
    weights.encoder_embedding.eoi_embedding = at.vector("enc.token_embd_eoi", config.encoder.hidden_size);
}

// fc2's rows are no whole blocks in the released towers, so their files hold it in 16 bits whatever the rest is in.
VisionLayer load_vision_layer(const Loader& at, const VisionConfig& c) {
  const int64_t e = c.hidden_size, f = c.intermediate_size;
  BiasedLinear fc1 = at.linear("ffn_up", f, e);
  const bool as_q8_0 = is_quantized(fc1.weight->weight().type);
  return {.layer_norm1 = at.layer_norm("ln1", e),
          .q_proj = at.linear("attn_q", e, e),
          .k_proj = at.linear("attn_k", e, e),
          .v_proj = at.linear("attn_v", e, e),
          .out_proj = at.linear("attn_out", e, e),
          .layer_norm2 = at.layer_norm("ln2", e),
          .fc1 = std::move(fc1),
          .fc2 = {at.matrix("ffn_down", e, f, as_q8_0), at.bias("ffn_down", e)}};
}

VisionWeights load_vision(const Loader& at, const VisionConfig& c, int64_t hidden_size) {
  const int64_t e = c.hidden_size, p = c.patch_size;
  VisionWeights weights;
  weights.patch_embedding = {at.flattened("v.patch_embd", {e, 3, p, p}), at.bias("v.patch_embd", e)};
  at.floats("v.position_embd.weight", {c.num_patches(), e});
  weights.position_embedding = at.table("v.position_embd", c.num_patches(), e);
  for (int i = 0; i < c.num_hidden_layers; ++i)
    weights.layers.push_back(load_vision_layer(at.at("v.blk." + std::to_string(i) + "."), c));
  weights.post_layernorm = at.layer_norm("v.post_ln", e);
  weights.mm_soft_emb_norm = at.vector("mm.soft_emb_norm", e);
  weights.mm_input_projection = at.matrix("mm.input_projection", hidden_size, e);
  return weights;
}

}  // namespace

Vector Vectors::add(Device& device, std::span<const float> values) {
  const auto n = static_cast<int64_t>(values.size());
  if (size_ - used_ < n) {
    size_ = n > kBlockFloats ? n : kBlockFloats;
    used_ = 0;
    blocks_.push_back(device.allocate(static_cast<size_t>(size_) * sizeof(float)));
  }
  const Vector vector{blocks_.back().get(), used_, 1, n};
  device.upload(values, vector);
  used_ += (n + kAlignment - 1) / kAlignment * kAlignment;
  return vector;
}

Weights load_weights(const GgufFile& file, const Config& config, const Backend& backend, LoadMode mode) {
  Weights weights;
  const Device::Lease lease(*backend.device);
  size_t size_bytes = 0;
  for (const TensorInfo& tensor : file.tensors()) size_bytes += tensor.size_bytes;
  backend.device->expect_weights(size_bytes);
  const Loader at(file, backend, weights, mode);
  load_embeddings(at, config, weights);
  for (int i = 0; i < config.encoder.num_hidden_layers; ++i)
    weights.encoder_layers.push_back(load_encoder_layer(at.at("enc.blk." + std::to_string(i) + "."), config.encoder));
  weights.encoder_norm = at.vector("enc.output_norm", config.encoder.hidden_size);
  for (int i = 0; i < config.decoder.num_hidden_layers; ++i)
    weights.decoder_layers.push_back(load_decoder_layer(at.at("dec.blk." + std::to_string(i) + "."), config));
  if (config.has_decoder) weights.decoder_norm = at.vector("dec.output_norm", config.decoder.hidden_size);
  if (config.vision) weights.vision = load_vision(at, *config.vision, config.encoder.hidden_size);
  backend.device->wait();
  return weights;
}

}  // namespace t5g
