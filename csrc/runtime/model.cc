// Loading, and the passes that everything else is made of.
#include "runtime/model.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/thread_count.h"
#include "runtime/load_tokenizer.h"

namespace t5g {
namespace {

// Rows of logits that teacher forcing holds at a time: 16 MB with the vocabulary of T5Gemma 2.
constexpr int64_t kLogitRows = 16;
// Keys and values of the sources used last. What a program's own sources take, and not what a model has ever seen: an
// entry goes with its source.
constexpr size_t kMaxSourceCacheBytes = size_t{4} << 30;

std::string check_device(const std::string& device) {
  if (device == "auto" || device == "cpu") return "cpu";
  if (device == "cuda" || device == "metal") return device;
  throw InvalidArgument("device is '" + device + "', expected 'auto', 'cpu', 'cuda' or 'metal'.");
}

int check_threads(int64_t n_threads) {
  if (n_threads < 0 || n_threads > kMaxThreads) {
    throw InvalidArgument("n_threads is " + std::to_string(n_threads) + ", expected 1 to " +
                          std::to_string(kMaxThreads) + ", or none for the number of physical cores.");
  }
  return n_threads == 0 ? default_thread_count() : static_cast<int>(n_threads);
}

std::unique_ptr<Ops> make_ops(const std::string& device, ThreadPool& pool) {
  if (device == "cuda") return make_cuda_ops();
  if (device == "metal") return make_metal_ops();
  return make_cpu_ops(pool);
}

// The type that says how exact keys and values need be: that of the first layer's largest matrices.
DataType type_of(const MlpWeights& mlp) { return mlp.gate_proj->weight().type; }

// Measured in docs/design/keys-and-values.md: rounding keys and values to halves changes far less than rounding weights
// to 8 bits did. Files whose weights are multiplied as they are get exact caches.
DataType resolve_kv_type(const std::string& name, DataType weights) {
  if (name == "auto") return is_quantized(weights) || weights == DataType::kBF16 ? DataType::kF16 : DataType::kF32;
  if (name == "f32") return DataType::kF32;
  if (name == "f16") return DataType::kF16;
  if (name == "q8_0") return DataType::kQ8_0;
  throw InvalidArgument("kv_type is '" + name + "', expected 'auto', 'f32', 'f16' or 'q8_0'.");
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

Buffer block_of(int64_t cols) { return Buffer(static_cast<size_t>(kBlockRows * cols) * sizeof(float)); }

}  // namespace

// The thread pool and workspaces for the length of one call, and the interrupt that may end it early.
class Model::Pass {
 public:
  Pass(Model& model, Interrupt* interrupt) : ops_(*model.ops_), lease_(model.pool_.lease(interrupt)) {
    ops_.set_interrupt(interrupt);
  }
  ~Pass() { ops_.set_interrupt(nullptr); }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

 private:
  Ops& ops_;
  ThreadPool::Lease lease_;
};

Model::Model(const std::string& path, const ModelOptions& options)
    : file_(path),
      config_(load_config(file_, options.encoder_window)),
      tokenizer_(load_tokenizer(file_, config_)),
      device_(check_device(options.device)),
      source_origin_{fingerprint_of(file_), config_.encoder.sliding_attention_window.before},
      pool_(check_threads(options.n_threads)),
      ops_(make_ops(device_, pool_)),
      weights_(load_weights(file_, config_, *ops_, options.load)),
      kv_type_(resolve_kv_type(options.kv_type, type_of(weights_.decoder_layers.front().mlp))),
      encoder_(config_, weights_, *ops_, prefill_kv_type(type_of(weights_.encoder_layers.front().mlp))),
      decoder_(config_, weights_, *ops_, kv_type_),
      vision_(make_vision(config_, weights_, *ops_)),
      source_caches_(std::make_shared<SourceCacheStore>(kMaxSourceCacheBytes)),
      pages_(std::make_shared<PagePool>(decoder_.page_bytes())),
      encoder_workspace_(config_.encoder),
      decoder_workspace_(config_.decoder),
      hidden_(block_of(config_.decoder.hidden_size)),
      last_hidden_(block_of(config_.decoder.hidden_size)),
      kept_state_bytes_(std::make_shared<std::atomic<int64_t>>(0)) {
  file_.forget_long_arrays();
  if (options.load == LoadMode::kCopy) file_.close();
}

void Model::check_ids(const std::string& side, std::span<const int32_t> ids, int64_t limit) const {
  const auto n = static_cast<int64_t>(ids.size());
  if (n > limit) throw InputTooLong(side, n, limit);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config_.vocab_size) {
      throw InvalidArgument(side + " token " + std::to_string(i) + " is " + std::to_string(ids[i]) +
                            ", outside the model's vocabulary of " + std::to_string(config_.vocab_size) + " tokens.");
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
  const int64_t image_bytes = vision_ ? VisionWorkspace::size_bytes(*config_.vision, *ops_, vision_->kv_format()) : 0;
  return memory_needs(config_, weights_, decoder_.page_bytes(), image_bytes);
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

std::shared_ptr<const ImageFeatures> Model::encode_image(std::span<const uint8_t> pixels, Interrupt* interrupt) {
  check_pixels(pixels);
  const Pass pass(*this, interrupt);
  if (auto found = image_cache_.find(pixels)) return found;
  VisionWorkspace workspace(*config_.vision, *ops_, vision_->kv_format());
  auto features = std::make_shared<ImageFeatures>(config_.vision->mm_tokens_per_image, config_.encoder.hidden_size);
  vision_->forward(pixels.data(), features->view(), workspace);
  image_cache_.insert(pixels, features);
  return features;
}

std::shared_ptr<const EncodedSource> Model::encode(std::vector<int32_t> ids, const Images& images,
                                                   Interrupt* interrupt) {
  check_ids("source", ids, config_.encoder.max_position_embeddings);
  check_images(ids, images.size());
  std::vector<Tensor> features;
  for (const auto& image : images) features.push_back(image->view());
  const auto n = static_cast<int64_t>(ids.size());
  const int64_t width = config_.encoder.hidden_size, chunks = (n + kKvChunk - 1) / kKvChunk;
  Buffer states(static_cast<size_t>(n * width) * sizeof(float));
  Buffer kv(static_cast<size_t>(chunks * encoder_.kv_chunk_bytes()));
  std::vector<std::byte*> pages;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) pages.push_back(kv.data() + chunk * encoder_.kv_chunk_bytes());

  const Pass pass(*this, interrupt);
  encoder_.forward(ids, features, {states.floats(), n, width}, {.pages = pages, .length = n}, encoder_workspace_);
  return std::make_shared<EncodedSource>(std::move(ids), std::move(states), width, source_origin_);
}

void Model::check_source(const EncodedSource& source, const std::string& name) const {
  const SourceOrigin& origin = source.origin();
  if (origin.model_fingerprint != source_origin_.model_fingerprint)
    throw InvalidArgument(name + " was encoded with another model. Encode it again with this one.");
  if (origin.agrees_on_window(source_origin_, std::ssize(source.ids()))) return;
  const bool inclusive = origin.sliding_reach > source_origin_.sliding_reach;
  throw InvalidArgument(name + " was encoded with encoder_window='" +
                        std::string(inclusive ? "inclusive" : "exclusive") +
                        "', which this model has not, and is longer than the window. Encode it again with this one.");
}

std::shared_ptr<const EncodedSource> Model::load_source(const std::string& path) const {
  const bool may_differ = config_.architecture == Architecture::kT5Gemma;
  return EncodedSource::load(path,
                             {.origin = source_origin_,
                              .reach_of_all = may_differ ? config_.encoder.sliding_window - 1 : Window::kUnlimited,
                              .hidden_size = config_.encoder.hidden_size,
                              .vocab_size = config_.vocab_size});
}

std::shared_ptr<const SourceCache> Model::make_source_cache(const EncodedSource& source) {
  const Tensor states = source.hidden_states();
  auto cache = std::make_shared<SourceCache>(states.rows, decoder_.layer_bytes(), config_.decoder.num_hidden_layers);
  decoder_.project_source(states, cache->view(), decoder_workspace_);
  return cache;
}

std::shared_ptr<const SourceCache> Model::project(const EncodedSource& source, Interrupt* interrupt) {
  check_source(source);
  const Pass pass(*this, interrupt);
  return make_source_cache(source);
}

std::shared_ptr<const SourceCache> Model::project_and_keep(const EncodedSource& source, Interrupt* interrupt) {
  check_source(source);
  const Pass pass(*this, interrupt);
  if (auto found = source_caches_->find(source)) return found;
  auto made = make_source_cache(source);
  source_caches_->insert(source, made);
  return made;
}

void Model::forward(std::span<const Step> steps, Tensor x) {
  inputs_.clear();
  for (const Step& step : steps) {
    step.cache->reserve(static_cast<int64_t>(step.ids.size()));
    inputs_.push_back({.ids = step.ids, .self = step.cache->view(), .source = step.source->view()});
  }
  decoder_.forward(inputs_, x, decoder_workspace_);
  for (const Step& step : steps) step.cache->advance(static_cast<int64_t>(step.ids.size()));
}

size_t Model::run_some(std::span<const Step> steps, Tensor& wanted) {
  const int64_t width = config_.decoder.hidden_size;
  wanted = {last_hidden_.floats(), 0, width};
  const auto keep = [&](const Step& step, const float* end) {
    const auto rows = static_cast<int64_t>(std::max<size_t>(step.best.size(), 1));
    std::copy_n(end - rows * width, rows * width, wanted.data + wanted.size());
    wanted.rows += rows;
  };
  const auto fits = [&](const Step& step, size_t rows) {
    return step.ids.size() <= kShortStep && rows + step.ids.size() <= kBlockRows &&
           step.best.empty() == steps.front().best.empty();
  };
  size_t n = 0, rows = 0;
  while (n < steps.size() && fits(steps[n], rows)) rows += steps[n++].ids.size();
  if (n > 0) {
    forward(steps.first(n), {hidden_.floats(), static_cast<int64_t>(rows), width});
    const float* end = hidden_.floats();
    for (const Step& step : steps.first(n)) keep(step, end += static_cast<int64_t>(step.ids.size()) * width);
    return n;
  }
  Step step = steps.front();
  size_t size = 0;
  for (; !step.ids.empty(); step.ids = step.ids.subspan(size)) {
    size = std::min<size_t>(step.ids.size(), kBlockRows);
    const Step part{step.source, step.cache, step.ids.first(size)};
    forward({&part, 1}, {hidden_.floats(), static_cast<int64_t>(size), width});
  }
  keep(step, hidden_.floats() + static_cast<int64_t>(size) * width);
  return 1;
}

void Model::decode(std::span<const Step> steps, Tensor logits, Interrupt* interrupt) {
  const Pass pass(*this, interrupt);
  int64_t n_logits = 0;
  for (size_t first = 0; first < steps.size();) {
    Tensor x;
    const std::span<const Step> done = steps.subspan(first, run_some(steps.subspan(first), x));
    if (done.front().best.empty()) {
      decoder_.head(x, logits.slice(n_logits, n_logits + x.rows));  // [n, V]
      n_logits += x.rows;
    } else {
      find_best(done, x);
    }
    first += done.size();
  }
}

void Model::find_best(std::span<const Step> steps, Tensor x) {
  queries_.clear();
  const auto each = [&](auto body) {
    int64_t row = 0;
    for (const Step& step : steps) {
      for (BestToken& token : step.best) body(token, row++);
    }
  };
  each([&](BestToken& token, int64_t) {
    token.apart_logits.resize(token.apart.size());
    queries_.push_back({.apart = token.apart, .apart_logits = token.apart_logits.data()});
  });
  if (decoder_.best_of_head(x, queries_)) {
    each([&](BestToken& token, int64_t row) {
      const BestQuery& found = queries_[static_cast<size_t>(row)];
      token.id = static_cast<int32_t>(found.best);
      token.logit = found.best_logit;
      token.log_sum_exp.reset();
      token.hidden_state.assign(x.row(row), x.row(row) + x.cols);
    });
    return;
  }
  Tensor logits;
  each([&](BestToken& token, int64_t row) {
    if (row % kLogitRows == 0) logits = head_block(x.slice(row, std::min(row + kLogitRows, x.rows)));
    const Tensor one{logits.row(row % kLogitRows), 1, logits.cols};
    token.log_sum_exp = ops_->log_sum_exp(one);
    for (size_t i = 0; i < token.apart.size(); ++i) {
      float& logit = one.data[token.apart[i]];
      token.apart_logits[i] = std::exchange(logit, -std::numeric_limits<float>::infinity());
    }
    token.id = static_cast<int32_t>(ops_->argmax(one));
    token.logit = one.data[token.id];
    if (!(token.logit > -std::numeric_limits<float>::infinity())) token.id = -1;
  });
}

// x: at most kLogitRows rows.
Tensor Model::head_block(Tensor x) {
  const size_t needed = static_cast<size_t>(x.rows * config_.vocab_size) * sizeof(float);
  if (logits_.size_bytes() < needed) logits_ = Buffer(needed);
  const Tensor logits{logits_.floats(), x.rows, config_.vocab_size};
  decoder_.head(x, logits);  // [n, V]
  return logits;
}

void Model::log_sum_exps(Tensor hidden_states, std::span<float> out, Interrupt* interrupt) {
  const Pass pass(*this, interrupt);
  for (int64_t row = 0; row < hidden_states.rows; row += kLogitRows) {
    const Tensor logits = head_block(hidden_states.slice(row, std::min(row + kLogitRows, hidden_states.rows)));
    for (int64_t i = 0; i < logits.rows; ++i)
      out[static_cast<size_t>(row + i)] = ops_->log_sum_exp({logits.row(i), 1, logits.cols});
  }
}

void Model::decode_all(const Step& step, LogitsConsumer consume, Interrupt* interrupt) {
  const int64_t width = config_.decoder.hidden_size;
  Buffer logits(static_cast<size_t>(kLogitRows * config_.vocab_size) * sizeof(float));
  const Pass pass(*this, interrupt);
  for (size_t begin = 0; begin < step.ids.size(); begin += kBlockRows) {
    const Step part{step.source, step.cache,
                    step.ids.subspan(begin, std::min<size_t>(kBlockRows, step.ids.size() - begin))};
    const Tensor block{hidden_.floats(), static_cast<int64_t>(part.ids.size()), width};
    forward({&part, 1}, block);
    for (int64_t row = 0; row < block.rows; row += kLogitRows) {
      const Tensor rows = block.slice(row, std::min(row + kLogitRows, block.rows));
      const Tensor out{logits.floats(), rows.rows, config_.vocab_size};
      decoder_.head(rows, out);
      consume(static_cast<int64_t>(begin) + row, out);
    }
  }
}

}  // namespace t5g
