// Loading, and what is checked before a pass.
#include "runtime/model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/free_memory.h"
#include "base/printable.h"
#include "base/thread_count.h"
#include "runtime/load_tokenizer.h"

namespace t5g {
namespace {

// Keys and values of the sources used last. What a program's own sources take, and not what a model has ever seen: an
// entry goes with its source.
constexpr size_t kMaxSourceCacheBytes = size_t{4} << 30;

int check_threads(int64_t n_threads) {
  if (n_threads < 0 || n_threads > kMaxThreads) {
    throw InvalidArgument(Argument{"n_threads"} + " is " + std::to_string(n_threads) + ", expected 1 to " +
                          std::to_string(kMaxThreads) + ", or none for the number of physical cores.");
  }
  return n_threads == 0 ? default_thread_count() : static_cast<int>(n_threads);
}

// The type that says how exact keys and values need be: that of the first layer's largest matrices.
DataType type_of(const MlpWeights& mlp) { return mlp.gate_proj->weight().type; }
// Of the decoder, and of the encoder where there is nothing else.
DataType decoder_type(const Weights& weights) {
  return type_of(weights.decoder_layers.empty() ? weights.encoder_layers.front().mlp
                                                : weights.decoder_layers.front().mlp);
}

// Measured in docs/design/keys-and-values.md: rounding keys and values to halves changes far less than rounding weights
// to 8 bits did. Files whose weights are multiplied as they are get exact caches.
DataType resolve_kv_type(const std::string& name, DataType weights) {
  if (name == "auto") return is_quantized(weights) || weights == DataType::kBF16 ? DataType::kF16 : DataType::kF32;
  if (name == "f32") return DataType::kF32;
  if (name == "f16") return DataType::kF16;
  if (name == "q8_0") return DataType::kQ8_0;
  throw InvalidArgument(Argument{"kv_type"} + " is '" + name + "', expected 'auto', 'f32', 'f16' or 'q8_0'.");
}

SourceCacheKind resolve_source_cache(const std::string& name) {
  if (name == "auto") return SourceCacheKind::kAuto;
  if (name == "keys") return SourceCacheKind::kKeys;
  if (name == "latent") return SourceCacheKind::kLatent;
  throw InvalidArgument(Argument{"source_cache"} + " is '" + name + "', expected 'auto', 'keys' or 'latent'.");
}

int64_t check_budget(int64_t bytes) {
  if (bytes >= 0) return bytes;
  throw InvalidArgument(Argument{"source_cache_budget"} + " is " + std::to_string(bytes) +
                        ", expected a number of bytes, 0 or more.");
}

std::shared_ptr<const SlidingLayers> find_sliding_layers(const TextConfig& decoder) {
  auto sliding = std::make_shared<SlidingLayers>();
  sliding->before = decoder.sliding_attention_window.before;
  for (int i = 0; i < decoder.num_hidden_layers; ++i) {
    if (decoder.layer_types[static_cast<size_t>(i)] != LayerType::kSlidingAttention) continue;
    if (sliding->ranges.empty() || sliding->ranges.back().first + sliding->ranges.back().n != i)
      sliding->ranges.push_back({i, 0});
    ++sliding->ranges.back().n;
  }
  return sliding->ranges.empty() ? nullptr : sliding;
}

// The file's config with the caller's limits.
Config limited(Config config, const ModelOptions& options) {
  const auto set = [](const char* name, int64_t limit, int64_t& to) {
    if (limit < 0 || limit > kMostTokens)
      throw InvalidArgument(Argument{name} + " is " + std::to_string(limit) + ", expected 1 to " +
                            std::to_string(kMostTokens) + ".");
    if (limit > 0) to = limit;
  };
  set("max_source_tokens", options.max_source_tokens, config.encoder.max_tokens);
  set("max_target_tokens", options.max_target_tokens, config.decoder.max_tokens);
  return config;
}

// For the attention of many rows at once. With weights or activations that are rounded to 8 bits anyway, products of
// bfloat16 are exact enough, and twice as fast.
DataType prefill_kv_type(DataType weights) {
  return is_quantized(weights) || weights == DataType::kBF16 ? DataType::kBF16 : DataType::kF32;
}

// FNV-1a.
void mix(uint64_t& hash, const void* data, size_t size_bytes) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < size_bytes; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3ull;
}

// Tells models apart whose files differ in size, metadata or shapes; kept in files of encoded sources.
uint64_t fingerprint_of(const GgufFile& file) {
  constexpr size_t kLongValue = 4096;  // the vocabulary's arrays: large, and the same in every fine-tune
  constexpr size_t kSample = 64;       // of each tensor: fine-tunes differ in every one
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const GgufFile::Metadata& entry : file.metadata()) {
    mix(hash, entry.key.data(), entry.key.size());
    if (entry.stored.size() < kLongValue) mix(hash, entry.stored.data(), entry.stored.size());
  }
  for (const TensorInfo& tensor : file.tensors()) {
    mix(hash, tensor.name.data(), tensor.name.size());
    mix(hash, &tensor.offset, sizeof tensor.offset);
    std::byte sample[kSample];
    const auto size = static_cast<size_t>(std::min<uint64_t>(kSample, tensor.size_bytes));
    file.read(tensor, 0, {sample, size});
    mix(hash, sample, size);
  }
  return hash;
}

std::optional<VisionTower> make_vision(const Config& config, const Weights& weights, Ops& ops) {
  if (!config.vision) return std::nullopt;
  const DataType type = weights.vision->layers.front().fc1.weight->weight().type;
  return VisionTower(*config.vision, *weights.vision, ops, prefill_kv_type(type));
}

// None without a decoder, as the next one.
std::shared_ptr<KvPool> make_decoder_pool(const Config& config, const Decoder& decoder, Ops& ops) {
  return config.has_decoder ? ops.make_kv_pool(decoder.kv_format(), config.decoder.num_hidden_layers) : nullptr;
}
std::optional<Workspace> make_decoder_workspace(const Config& config, const Backend& backend) {
  std::optional<Workspace> workspace;
  if (config.has_decoder) workspace.emplace(config.decoder, backend);
  return workspace;
}

// None without an image tower.
std::shared_ptr<KvPool> make_image_pool(const std::optional<VisionTower>& vision, Ops& ops) {
  return vision ? ops.make_kv_pool(vision->kv_format(), 1) : nullptr;
}

}  // namespace

GgufFile ModelLocation::open() const {
  if (!memory.empty()) return {memory, path};
  if (descriptor < 0) return GgufFile(path);
  return GgufFile(std::make_unique<const InputFile>(descriptor, offset, size_bytes, path));
}

Model::Model(const ModelLocation& location, const ModelOptions& options)
    : memory_owner_(location.owner),
      file_(location.open()),
      config_(limited(load_config(file_, options.encoder_window), options)),
      tokenizer_(load_tokenizer(file_, config_)),
      source_origin_{fingerprint_of(file_), config_.encoder.sliding_attention_window.before},
      backend_(make_backend(options.device, check_threads(options.n_threads))),
      weights_(load_weights(file_, config_, backend_, options.load)),
      kv_type_(resolve_kv_type(options.kv_type, decoder_type(weights_))),
      source_cache_(resolve_source_cache(options.source_cache)),
      source_cache_budget_(check_budget(options.source_cache_budget)),
      encoder_(config_, weights_, *backend_.ops, prefill_kv_type(type_of(weights_.encoder_layers.front().mlp))),
      decoder_(config_, weights_, *backend_.ops, kv_type_),
      vision_(make_vision(config_, weights_, *backend_.ops)),
      encoder_pool_(backend_.ops->make_kv_pool(encoder_.kv_format(), 1)),
      decoder_pool_(make_decoder_pool(config_, decoder_, *backend_.ops)),
      image_pool_(make_image_pool(vision_, *backend_.ops)),
      sliding_layers_(find_sliding_layers(config_.decoder)),
      source_caches_(std::make_shared<SourceCacheStore>(kMaxSourceCacheBytes)),
      encoder_workspace_(config_.encoder, backend_),
      decoder_workspace_(make_decoder_workspace(config_, backend_)),
      source_block_(*backend_.device, backend_.ops->block_rows(), config_.encoder.hidden_size),
      hidden_(*backend_.device, backend_.ops->block_rows(), config_.decoder.hidden_size),
      wanted_hidden_(*backend_.device, backend_.ops->block_rows(), config_.decoder.hidden_size),
      kept_state_bytes_(std::make_shared<std::atomic<int64_t>>(0)) {
  file_.forget_long_arrays();
  if (options.load == LoadMode::kCopy) file_.close();
}

bool Model::keeps_latent(int64_t n_tokens) const {
  if (n_tokens == 0 || !config_.has_decoder || source_cache_ == SourceCacheKind::kKeys) return false;
  return source_cache_ == SourceCacheKind::kLatent ||
         kv_chunks(n_tokens) * decoder_pool_->page_bytes() > source_cache_budget_;
}

SourceBytes Model::source_bytes(int64_t n_tokens) const {
  const int64_t width = config_.encoder.hidden_size;
  const auto bytes_of = [&](DataType type) { return n_tokens * static_cast<int64_t>(state_row_bytes(type, width)); };
  const int64_t exact = bytes_of(DataType::kF32), one_layer = kv_chunks(n_tokens) * encoder_pool_->page_bytes();
  SourceBytes bytes{.reading = exact + one_layer, .writing = exact};
  if (!config_.has_decoder) return bytes;
  if (!keeps_latent(n_tokens)) {
    bytes.writing += kv_chunks(n_tokens) * decoder_pool_->page_bytes();
    return bytes;
  }
  const LatentFormat format = decoder_.latent_format(kv_type_);
  const int64_t scales = int64_t{format.n_layers} * format.n_kv_heads * 4;
  bytes.writing = bytes_of(kv_type_) + n_tokens * scales;
  return bytes;
}

void Model::check_memory(int64_t n_tokens) const {
  constexpr int64_t kWorthAsking = int64_t{64} << 20;
  const SourceBytes needed = source_bytes(n_tokens);
  const int64_t most = std::max(needed.reading, needed.writing);
  if (most < kWorthAsking || backend_.device->name() != "cpu") return;
  const int64_t free = free_memory();
  if (most <= free) return;
  const auto mb = [](int64_t bytes) { return std::to_string(bytes / 1000000) + " MB"; };
  throw OutOfMemory("the source has " + std::to_string(n_tokens) + " tokens, which need " + mb(most) + ", but only " +
                    mb(free) + " of memory are free. Shorten it, or keep less of it: " +
                    to_give("source_cache", "latent") + ", " + to_give("kv_type", "q8_0") + ".");
}

void Model::check_ids(const std::string& name, std::span<const int32_t> ids, const TextConfig& side) {
  const auto n = static_cast<int64_t>(ids.size());
  if (n > side.max_tokens) throw InputTooLong(name, n, side.max_tokens);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= side.vocab_size) {
      throw InvalidArgument(Argument{name} + ": token " + std::to_string(i) + " is " + std::to_string(ids[i]) +
                            ", outside the model's vocabulary of " + std::to_string(side.vocab_size) + " tokens.");
    }
  }
}

void Model::check_images(std::span<const int32_t> ids, size_t n_images) const {
  if (n_images == 0) return;
  check_has_vision();
  const auto found = std::count(ids.begin(), ids.end(), config_.image_token_id);
  const int64_t per_image = config_.vision->mm_tokens_per_image;
  if (found == static_cast<int64_t>(n_images) * per_image) return;
  throw InvalidArgument("the source has " + std::to_string(found) + " image tokens (id " +
                        std::to_string(config_.image_token_id) + "), expected " + std::to_string(per_image) +
                        " for each of the " + std::to_string(n_images) + " images.");
}

MemoryNeeds Model::memory() const {
  const int64_t block_rows = backend_.ops->block_rows();
  const int64_t image_bytes =
      vision_ ? VisionWorkspace::size_bytes(*config_.vision, block_rows, image_pool_->page_bytes()) : 0;
  return memory_needs(config_, weights_,
                      {.page_bytes = decoder_pool_ ? decoder_pool_->page_bytes() : 0,
                       .image_bytes = image_bytes,
                       .workspace_bytes = Workspace::size_bytes(config_.encoder, block_rows) +
                                          Workspace::size_bytes(config_.decoder, block_rows)});
}

void Model::check_has_decoder() const {
  if (config_.has_decoder) return;
  throw Unsupported(file_.name() +
                    ": is an encoder without a decoder, so it encodes and embeds but writes and scores nothing. "
                    "Convert the whole checkpoint, without --encoder-only.");
}

void Model::check_has_vision() const {
  if (vision_) return;
  throw Unsupported(file_.name() +
                    ": has no image tower, so it reads text only. Convert a T5Gemma 2 checkpoint that has one, "
                    "without --no-vision.");
}

void Model::check_pixels(std::span<const uint8_t> pixels) const {
  check_has_vision();
  const size_t size = static_cast<size_t>(config_.vision->image_size), expected = size * size * 3;
  if (pixels.size() == expected) return;
  throw InvalidArgument("an image has " + std::to_string(pixels.size()) + " values, expected " +
                        std::to_string(expected) + ": " + std::to_string(size) + " x " + std::to_string(size) +
                        " pixels of red, green and blue.");
}

void Model::check_source(const EncodedSource& source, const std::string& name) const {
  const SourceOrigin& origin = source.origin();
  if (origin.model_fingerprint != source_origin_.model_fingerprint)
    throw InvalidArgument(Argument{name} + " was encoded with another model. Encode it again with this one.");
  if (origin.agrees_on_window(source_origin_, std::ssize(source.ids()))) return;
  const bool inclusive = origin.sliding_reach > source_origin_.sliding_reach;
  throw InvalidArgument(Argument{name} + " was encoded with " +
                        to_give("encoder_window", inclusive ? "inclusive" : "exclusive") +
                        ", which this model has not, and is longer than the window. Encode it again with this one.");
}

ActiveAdapters Model::check_readable(const EncodedSource& source, const std::string& name) const {
  check_has_decoder();
  check_source(source, name);
  if (source.origin().layer != SourceOrigin::kFinal) {
    throw InvalidArgument(Argument{name} + " has the hidden states of layer " + std::to_string(source.origin().layer) +
                          ", but the decoder reads those of the last one. Encode it without " + to_give("layer") + ".");
  }
  return adapters_.find(source.origin().adapters, name);
}

void Model::check_adapters(const EncodedSource& source, const AdapterChoices& choices, const std::string& name) const {
  if (!choices) return;
  const std::vector<AdapterUse> asked = uses_of(adapters_.choose(choices));
  const std::vector<AdapterUse>& own = source.origin().adapters;
  if (std::ranges::equal(asked, own, [](const AdapterUse& a, const AdapterUse& b) { return a.is_same(b); })) return;
  const auto list = [](const std::vector<AdapterUse>& uses) {
    std::string words;
    for (const AdapterUse& use : uses) words += (words.empty() ? "'" : ", '") + printable(use.name) + "'";
    return uses.empty() ? "no adapters" : "the adapters " + words;
  };
  throw InvalidArgument(Argument{name} + " was encoded with " + list(own) + ", and the call asks for " + list(asked) +
                        " or other scales. Leave " + to_give("adapters") + " out, or encode the source again.");
}

void Model::load_adapter(const std::string& path, const std::string& name, float scale, Interrupt* interrupt) {
  if (!std::isfinite(scale))
    throw InvalidArgument(Argument{"scale"} + ": must be a finite number, got " + std::to_string(scale) + ".");
  if (name.find_first_not_of(" \t\r\n") == std::string::npos)
    throw InvalidArgument(Argument{"name"} + ": must be a text that is not blank, got '" + printable(name) +
                          "'. Calls name the adapter by it.");
  adapters_.check_free(name);
  std::shared_ptr<const Adapter> adapter;
  {
    const Device::Lease lease(*backend_.device, interrupt);
    adapter = std::make_shared<const Adapter>(path, Adapter::Base{file_, config_, weights_, backend_});
    backend_.device->wait();
  }
  adapters_.add({name, scale, std::move(adapter)});
}

EncodedSource::Expected Model::expected_source() const {
  const bool may_differ = config_.architecture == Architecture::kT5Gemma;
  return {.origin = source_origin_,
          .reach_of_all = may_differ ? config_.encoder.sliding_window - 1 : Window::kUnlimited,
          .hidden_size = config_.encoder.hidden_size,
          .vocab_size = config_.encoder.vocab_size};
}

std::shared_ptr<const EncodedSource> Model::load_source(const std::string& path) const {
  return EncodedSource::load(path, expected_source());
}

std::shared_ptr<const EncodedSource> Model::load_source(std::span<const std::byte> bytes) const {
  return EncodedSource::from_bytes(bytes, expected_source());
}

}  // namespace t5g
