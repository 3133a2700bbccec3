// From metadata to Config. Every value gets a range here, so that no later product overflows and no division is by
// zero.
#include "model/config.h"

#include <cmath>
#include <limits>
#include <string>

namespace t5g {
namespace {

// Generous limits: several times the largest released model, small enough for 64-bit products of any three.
constexpr uint32_t kMaxHidden = 1u << 16;
constexpr uint32_t kMaxIntermediate = 1u << 19;
constexpr uint32_t kMaxLayers = 1024;
constexpr uint32_t kMaxHeads = 512;
constexpr uint32_t kMaxHeadsPerKeyValueHead = 64;
constexpr uint32_t kMaxHeadDim = 1024;
constexpr uint32_t kMaxVocabulary = 1u << 24;
constexpr uint32_t kMaxPositions = 1u << 24;
constexpr int kMaxPatchesPerSide = 256;

// Typed access to the keys under one prefix, with ranges.
class Section {
 public:
  Section(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  std::string key(const std::string& name) const { return prefix_ + name; }

  int count(const std::string& name, uint32_t max, uint32_t min = 1) const {
    const uint32_t value = file_.get_u32(key(name));
    if (value < min || value > max) {
      file_.fail_key(key(name), "is " + std::to_string(value) + ", expected " + std::to_string(min) + " to " +
                                    std::to_string(max) + ". The file is damaged or made for another program.");
    }
    return static_cast<int>(value);
  }

  float positive(const std::string& name) const { return check_positive(name, file_.get_f32(key(name))); }

  float positive_or(const std::string& name, float fallback) const {
    const std::optional<float> value = file_.find_f32(key(name));
    return value ? check_positive(name, *value) : fallback;
  }

  // Zero and absence both mean "none".
  float softcap(const std::string& name) const {
    const float value = file_.find_f32(key(name)).value_or(0.0f);
    return value == 0.0f ? 0.0f : check_positive(name, value);
  }

 private:
  float check_positive(const std::string& name, float value) const {
    if (!(value > 0.0f) || !std::isfinite(value))
      file_.fail_key(key(name), "is " + std::to_string(value) + ", expected a positive number.");
    return value;
  }

  const GgufFile& file_;
  const std::string prefix_;
};

std::vector<LayerType> load_layer_types(const GgufFile& file, const std::string& key, int n_layers) {
  const std::vector<bool> sliding = file.get_bool_array(key);
  if (sliding.size() != static_cast<size_t>(n_layers)) {
    file.fail_key(key, "has " + std::to_string(sliding.size()) + " entries, expected one for each of the " +
                           std::to_string(n_layers) + " layers.");
  }
  std::vector<LayerType> types;
  for (const bool is_sliding : sliding)
    types.push_back(is_sliding ? LayerType::kSlidingAttention : LayerType::kFullAttention);
  return types;
}

void load_heads(const GgufFile& file, const Section& section, TextConfig& config) {
  config.num_attention_heads = section.count("attention.head_count", kMaxHeads);
  config.num_key_value_heads = section.count("attention.head_count_kv", kMaxHeads);
  config.head_dim = section.count("attention.key_length", kMaxHeadDim, 2);
  const int groups = config.num_attention_heads / config.num_key_value_heads;
  if (config.num_attention_heads % config.num_key_value_heads != 0 ||
      groups > static_cast<int>(kMaxHeadsPerKeyValueHead)) {
    file.fail_key(section.key("attention.head_count"),
                  "is " + std::to_string(config.num_attention_heads) + ", expected 1 to " +
                      std::to_string(kMaxHeadsPerKeyValueHead) + " times the " +
                      std::to_string(config.num_key_value_heads) + " key/value heads.");
  }
  if (config.head_dim % 2 != 0) file.fail_key(section.key("attention.key_length"), "is odd; RoPE rotates pairs.");
  if (section.count("attention.value_length", kMaxHeadDim) != config.head_dim)
    file.fail_key(section.key("attention.value_length"),
                  "differs from attention.key_length; T5Gemma has one head_dim.");
}

void load_rope(const GgufFile& file, const Section& section, TextConfig& config) {
  const std::string key = section.key("rope.scaling.type");
  const std::string_view scaling = file.find_string(key).value_or("none");
  if (scaling != "none" && scaling != "linear") {
    file.fail_key(key,
                  "is '" + std::string(scaling) + "', expected 'none' or 'linear'. T5Gemma has no other RoPE scaling.");
  }
  config.rope_full = {section.positive("rope.freq_base"), section.positive_or("rope.scaling.factor", 1.0f)};
  config.rope_sliding = {section.positive("rope.freq_base_swa"), section.positive_or("rope.scaling.factor_swa", 1.0f)};
}

TextConfig load_side(const GgufFile& file, const std::string& prefix, int vocab_size) {
  const Section section(file, prefix);
  TextConfig config;
  config.vocab_size =
      file.has_key(section.key("vocab_size")) ? section.count("vocab_size", kMaxVocabulary) : vocab_size;
  config.hidden_size = section.count("embedding_length", kMaxHidden);
  config.intermediate_size = section.count("feed_forward_length", kMaxIntermediate);
  config.num_hidden_layers = section.count("block_count", kMaxLayers);
  load_heads(file, section, config);
  config.query_pre_attn_scalar = section.positive("attention.query_pre_attn_scalar");
  config.rms_norm_eps = section.positive("attention.layer_norm_rms_epsilon");
  config.sliding_window = section.count("attention.sliding_window", std::numeric_limits<int32_t>::max());
  config.layer_types =
      load_layer_types(file, section.key("attention.sliding_window_pattern"), config.num_hidden_layers);
  load_rope(file, section, config);
  config.attn_logit_softcapping = section.softcap("attn_logit_softcapping");
  config.final_logit_softcapping = section.softcap("final_logit_softcapping");
  config.max_position_embeddings = section.count("context_length", kMaxPositions);
  config.max_tokens = config.max_position_embeddings;
  return config;
}

// A token id that must be a row of the embedding table.
int32_t check_id(const GgufFile& file, const std::string& key, uint32_t id, int vocab_size) {
  if (id >= static_cast<uint32_t>(vocab_size)) {
    file.fail_key(
        key, "is " + std::to_string(id) + ", outside the vocabulary of " + std::to_string(vocab_size) + " tokens.");
  }
  return static_cast<int32_t>(id);
}

int32_t find_id(const GgufFile& file, const std::string& key, int vocab_size) {
  const std::optional<uint32_t> id = file.find_u32(key);
  return id ? check_id(file, key, *id, vocab_size) : -1;
}

// T5Gemma 2 looks at a window of W tokens in all: for an even W one more to the right than to the left.
Window centred_window(int64_t w) { return {.before = (w + 1) / 2 - 1, .after = w / 2}; }

void set_windows(Config& config, EncoderWindow encoder_window) {
  const int64_t w = config.encoder.sliding_window;
  const int64_t reach = encoder_window == EncoderWindow::kInclusive ? w : w - 1;
  config.encoder.sliding_attention_window =
      config.architecture == Architecture::kT5Gemma2 ? centred_window(w) : Window{.before = reach, .after = reach};
  config.decoder.full_attention_window = {.before = Window::kUnlimited, .after = 0};
  config.decoder.sliding_attention_window = {.before = config.decoder.sliding_window - 1, .after = 0};
}

void check_t5gemma2(const GgufFile& file, const Config& config) {
  const TextConfig& encoder = config.encoder;
  const TextConfig& decoder = config.decoder;
  if (encoder.hidden_size != decoder.hidden_size)
    file.fail_key("t5gemma2.decoder.embedding_length", "differs from the encoder's; T5Gemma 2 shares one embedding.");
  if (encoder.vocab_size != decoder.vocab_size)
    file.fail_key("t5gemma2.encoder.vocab_size", "differs from the decoder's; T5Gemma 2 shares one embedding.");
}

std::array<float, 3> load_channels(const GgufFile& file, const std::string& key) {
  const std::vector<float> values = file.find_f32_array(key).value_or(std::vector<float>(3, 0.5f));
  std::array<float, 3> channels{};
  if (values.size() != channels.size())
    file.fail_key(key, "has " + std::to_string(values.size()) + " values, expected 3: red, green, blue.");
  std::copy(values.begin(), values.end(), channels.begin());
  return channels;
}

// The grid of patches must fall apart into whole windows, and the width into heads.
void check_vision(const GgufFile& file, const Section& section, const VisionConfig& c) {
  const auto number = [](int64_t value) { return std::to_string(value); };
  if (c.image_size % c.patch_size != 0 || c.patches_per_side() > kMaxPatchesPerSide) {
    file.fail_key(section.key("patch_size"), "is " + number(c.patch_size) + ", expected a divisor of the image size " +
                                                 number(c.image_size) + " that makes at most " +
                                                 number(kMaxPatchesPerSide) + " patches a side.");
  }
  if (c.hidden_size % c.num_attention_heads != 0 || c.head_dim() > static_cast<int>(kMaxHeadDim)) {
    file.fail_key(
        section.key("attention.head_count"),
        "is " + number(c.num_attention_heads) + ", expected a divisor of the width " + number(c.hidden_size) + ".");
  }
  const int64_t window = c.pool_window();
  if (window == 0 || window * window * c.mm_tokens_per_image != c.num_patches()) {
    file.fail_key(section.key("patch_size"), "makes " + number(c.num_patches()) +
                                                 " patches, which cannot be averaged to " +
                                                 number(c.mm_tokens_per_image) + " tokens in equal squares.");
  }
  for (size_t i = 0; i < c.image_mean.size(); ++i) {
    if (!std::isfinite(c.image_mean[i])) file.fail_key(section.key("image_mean"), "has a value that is no number.");
    if (!(c.image_std[i] > 0.0f) || !std::isfinite(c.image_std[i]))
      file.fail_key(section.key("image_std"), "has a value that is not a positive number.");
  }
}

std::optional<VisionConfig> load_vision(const GgufFile& file, const std::string& arch) {
  if (!file.find_bool("clip.has_vision_encoder").value_or(false)) return std::nullopt;
  const Section section(file, "clip.vision.");
  VisionConfig config;
  config.hidden_size = section.count("embedding_length", kMaxHidden);
  config.intermediate_size = section.count("feed_forward_length", kMaxIntermediate);
  config.num_hidden_layers = section.count("block_count", kMaxLayers);
  config.num_attention_heads = section.count("attention.head_count", kMaxHeads);
  config.image_size = section.count("image_size", 1u << 14);
  config.patch_size = section.count("patch_size", 1u << 10);
  config.layer_norm_eps = section.positive("attention.layer_norm_epsilon");
  config.mm_tokens_per_image = Section(file, arch + ".").count("mm_tokens_per_image", 1u << 16);
  config.image_mean = load_channels(file, section.key("image_mean"));
  config.image_std = load_channels(file, section.key("image_std"));
  check_vision(file, section, config);
  return config;
}

}  // namespace

int VisionConfig::pool_window() const {
  int tokens_per_side = 1;
  while (tokens_per_side * tokens_per_side < mm_tokens_per_image) ++tokens_per_side;
  return patches_per_side() / tokens_per_side;
}

Config load_config(const GgufFile& file, EncoderWindow encoder_window) {
  Config config;
  const std::string arch(file.get_string("general.architecture"));
  if (arch != "t5gemma" && arch != "t5gemma2") {
    file.fail_key("general.architecture",
                  "is '" + arch +
                      "', expected 't5gemma' or 't5gemma2'. t5g runs no other models; convert a "
                      "T5Gemma checkpoint with t5g-convert.");
  }
  if (file.find_string("general.type") == "adapter") {
    file.fail_key("general.type",
                  "is 'adapter', which belongs to a model and is none. Open its base, and load this beside it: "
                  "load_adapter(), or --lora.");
  }
  config.architecture = arch == "t5gemma" ? Architecture::kT5Gemma : Architecture::kT5Gemma2;
  config.name = file.find_string("general.name").value_or("");
  const Section whole(file, arch + ".");
  config.vocab_size = whole.count("vocab_size", kMaxVocabulary);
  config.has_decoder = !file.find_bool(whole.key("encoder_only")).value_or(false);
  config.encoder = load_side(file, arch + ".encoder.", config.vocab_size);
  const TextConfig& writer = config.has_decoder ? config.decoder : config.encoder;
  if (config.has_decoder) {
    config.decoder = load_side(file, arch + ".decoder.", config.vocab_size);
    config.decoder_start_token_id = check_id(file, whole.key("decoder_start_token_id"),
                                             file.get_u32(whole.key("decoder_start_token_id")), config.vocab_size);
  }
  if (writer.vocab_size != config.vocab_size) {
    file.fail_key(arch + (config.has_decoder ? ".decoder" : ".encoder") + ".vocab_size",
                  "differs from " + arch + ".vocab_size. Convert the model again.");
  }
  for (const uint32_t id : file.get_u32_array(whole.key("eos_token_ids")))
    config.eos_token_ids.push_back(check_id(file, whole.key("eos_token_ids"), id, config.vocab_size));
  if (config.architecture == Architecture::kT5Gemma2) {
    config.decoder_attention = DecoderAttention::kMerged;
    config.image_token_id = find_id(file, whole.key("image_token_id"), config.vocab_size);
    config.boi_token_id = find_id(file, whole.key("boi_token_id"), config.vocab_size);
    config.eoi_token_id = find_id(file, whole.key("eoi_token_id"), config.vocab_size);
    config.vision = load_vision(file, arch);
    for (TextConfig* side : {&config.encoder, &config.decoder}) {
      side->use_qk_norm = true;
      side->attn_logit_softcapping = 0;  // the reference ignores it in T5Gemma 2
    }
    if (config.has_decoder) check_t5gemma2(file, config);
  } else {
    config.decoder_attention = DecoderAttention::kSelfThenCross;
  }
  set_windows(config, encoder_window);
  return config;
}

}  // namespace t5g
