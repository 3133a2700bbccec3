// The forward passes that everything else is made of. Each holds the device, and has waited for it when it ends. Those
// that may take long give way to others between blocks: a decode step never waits for a whole source.
#include <algorithm>
#include <optional>
#include <utility>

#include "runtime/attention_weights.h"
#include "runtime/encoder_pass.h"
#include "runtime/model.h"
#include "runtime/reading_progress.h"

namespace t5g {
namespace {

// Rows whose logits teacher forcing asks for at a time: 16 MB with the vocabulary of T5Gemma 2.
constexpr size_t kLogitRows = 16;

void add_adapted(const SourceCache& source, int64_t first, int64_t n, std::vector<AdaptedRows>& rows) {
  for (const ActiveAdapter& active : source.adapters())
    rows.push_back({&active.adapter->weights(), active.scale, first, n});
}

}  // namespace

std::shared_ptr<const ImageFeatures> Model::encode_image(std::span<const uint8_t> pixels, Interrupt* interrupt,
                                                         const ActiveAdapters& adapters, Progress* progress) {
  check_pixels(pixels);
  ImageCache::Adapters key;
  std::vector<AdaptedRows> adapted;
  for (const ActiveAdapter& active : adapters) {
    if (!active.adapter->weights().has_vision) continue;
    key.emplace_back(active.adapter->fingerprint(), active.scale);
    adapted.push_back({&active.adapter->weights(), active.scale, 0, AdaptedRows::kAll});
  }
  // Before the lease, whose end they outlive: it may be what drops the ops that use them.
  std::optional<VisionWorkspace> workspace;
  std::shared_ptr<ImageFeatures> features;
  Device::Lease lease(*backend_.device, interrupt);
  if (auto found = image_cache_.find(pixels, key)) {
    if (progress != nullptr) progress->update(1, 1);
    return found;
  }
  workspace.emplace(*config_.vision, backend_, image_pool_);
  features = std::make_shared<ImageFeatures>(*backend_.device, config_.vision->mm_tokens_per_image,
                                             config_.encoder.hidden_size);
  ReadingProgress reading(image_work(*config_.vision), config_.vision->num_patches(), backend_.ops->block_rows(),
                          progress);
  vision_->forward(pixels, features->view(), adapted, *workspace, [&] {
    reading.block_done();
    if (lease.give_way()) backend_.ops->upload(workspace->batch());
  });
  backend_.device->wait();
  reading.end();
  if (auto found = image_cache_.find(pixels, key)) return found;  // somebody else was quicker
  image_cache_.insert(pixels, key, features);
  return features;
}

std::shared_ptr<const EncodedSource> Model::encode(std::vector<int32_t> ids, const Images& images, Interrupt* interrupt,
                                                   Progress* progress, int64_t n_truncated) {
  return encode({Unread{std::move(ids), images, {}, 0, n_truncated}}, SourceOrigin::kFinal, interrupt, progress)
      .front();
}

Model::Sources Model::encode(std::vector<Unread> sources, int layer, Interrupt* interrupt, Progress* progress) {
  std::vector<size_t> n_values;
  size_t total = 0, n_rows_of_all = 0;
  for (const Unread& source : sources) {
    check_ids("source", source.ids, config_.encoder);
    check_images(source.ids, source.images.size());
    const size_t n_rows = source.ids.size() + static_cast<size_t>(source.n_padding);
    n_rows_of_all += n_rows;
    n_values.push_back(n_rows * static_cast<size_t>(config_.encoder.hidden_size));
    total += n_values.back();
  }
  check_memory(static_cast<int64_t>(n_rows_of_all));
  Buffer all(total * sizeof(float));
  run_encoder(sources, layer, {all.floats(), total}, interrupt, progress);
  Sources encoded;
  const float* from = all.floats();
  for (size_t i = 0; i < sources.size(); ++i) {
    Buffer own = sources.size() == 1 ? std::move(all) : Buffer(n_values[i] * sizeof(float));
    if (sources.size() > 1) std::copy_n(from, n_values[i], own.floats());
    from += n_values[i];
    SourceOrigin origin = source_origin_;
    origin.layer = layer;
    origin.adapters = uses_of(sources[i].adapters);
    StateRows states = keep(sources[i], layer, std::move(own), interrupt);
    encoded.push_back(
        std::make_shared<EncodedSource>(std::move(sources[i].ids), std::move(states), origin, sources[i].n_truncated));
  }
  return encoded;
}

StateRows Model::keep(const Unread& source, int layer, Buffer all, Interrupt* interrupt) const {
  const int64_t n = std::ssize(source.ids), width = config_.encoder.hidden_size;
  // Many states take less memory rounded, as the decoder will read them anyway.
  const bool is_for_decoder = layer == SourceOrigin::kFinal && source.n_padding == 0;
  if (!is_for_decoder || kv_type_ == DataType::kF32 || keeps_keys(n, source.adapters))
    return {DataType::kF32, width, n + source.n_padding, std::make_shared<const Buffer>(std::move(all))};
  return StateRows::rounded(kv_type_, width, std::move(all), interrupt);
}

bool Model::keeps_keys(int64_t n_tokens, const ActiveAdapters& adapters) const {
  return !keeps_latent(n_tokens) || std::ranges::any_of(adapters, [&](const ActiveAdapter& active) {
    return decoder_.adapts_source(active.adapter->weights());
  });
}

// Keys and values of the pass have gone when it returns.
void Model::run_encoder(std::span<const Unread> sources, int layer, std::span<float> states, Interrupt* interrupt,
                        Progress* progress) {
  std::vector<Tensor> features;
  std::vector<KvRun> runs;
  std::vector<AdaptedRows> adapted;
  Batch batch;
  batch.clear(*encoder_pool_);
  for (const Unread& source : sources) {
    for (const auto& image : source.images) features.push_back(image->view());
    const int64_t n = std::ssize(source.ids), first = batch.n_rows();
    const int32_t first_page = runs.emplace_back(encoder_pool_, kv_chunks(n)).first();
    const KvPages pages{.pages = {&first_page, 1}, .length = n, .is_run = true};
    std::vector<int32_t> padded = source.ids;
    padded.resize(static_cast<size_t>(n + source.n_padding), tokenizer_->pad_id());
    if (!padded.empty()) batch.add_tokens(padded, 0, n > 0 ? pages : KvPages{});
    for (const ActiveAdapter& active : source.adapters)
      adapted.push_back({&active.adapter->weights(), active.scale, first, batch.n_rows() - first});
  }
  DeviceRows x(*backend_.device, states, batch.n_rows(), config_.encoder.hidden_size);
  const int n_layers = layer == SourceOrigin::kFinal ? config_.encoder.num_hidden_layers : layer;
  Device::Lease lease(*backend_.device, interrupt);
  backend_.ops->upload(batch);
  ReadingProgress reading(encoder_work(config_.encoder, batch.n_rows()), batch.n_rows(), backend_.ops->block_rows(),
                          progress);
  encoder_.forward(batch, {features, n_layers, adapted}, x.view(), encoder_workspace_, [&] {
    reading.block_done();
    if (lease.give_way()) backend_.ops->upload(batch);
  });
  x.fetch();
  reading.end();
}

void Model::make_cache(const EncodedSource& source, ActiveAdapters adapters, std::shared_ptr<SourceCache>& made,
                       Device::Lease& lease) {
  const StateRows& states = source.hidden_states();
  if (keeps_keys(states.rows(), adapters)) {
    made = std::make_shared<SourceCache>(decoder_pool_, states.rows(), std::move(adapters));
    return fill_keys(*made, states, lease);
  }
  const bool is_exact = states.type() == DataType::kF32 && kv_type_ != DataType::kF32;
  const StateRows rows = is_exact ? StateRows::rounded(kv_type_, states.cols(), states.floats()) : states;
  const LatentFormat format = decoder_.latent_format(rows.type());
  const int64_t scales = int64_t{format.n_layers} * format.n_kv_heads * rows.rows();
  made = std::make_shared<SourceCache>(backend_.ops->load_latent(format, rows.rows(), rows.bytes()), rows,
                                       static_cast<size_t>(scales) * sizeof(float), std::move(adapters));
  fill_latent(*made, rows, lease);
}

// Calls body(rows [b, D of the encoder] on the device, first) for blocks of them.
template <typename Body>
void Model::for_blocks_of(const StateRows& states, Body body) {
  const int64_t most = backend_.ops->block_rows();
  source_floats_.resize(static_cast<size_t>(most * states.cols()));
  for (int64_t first = 0; first < states.rows(); first += most) {
    const int64_t n = std::min(most, states.rows() - first);
    const Tensor block = source_block_.view(n);
    states.read(first, n, source_floats_.data());
    backend_.device->upload(std::span(source_floats_).first(static_cast<size_t>(block.size())), block);
    body(block, first);
  }
}

void Model::fill_keys(const SourceCache& cache, const StateRows& states, Device::Lease& lease) {
  Batch batch;
  batch.clear(*decoder_pool_);
  batch.add_rows(states.rows(), 0, cache.view());
  backend_.ops->upload(batch);
  std::vector<AdaptedRows> adapted;
  add_adapted(cache, 0, AdaptedRows::kAll, adapted);
  for_blocks_of(states, [&](Tensor block, int64_t first) {
    decoder_.project_source(batch.rows(first, block.rows), block, adapted, *decoder_workspace_);
    if (lease.give_way()) backend_.ops->upload(batch);
  });
  backend_.device->wait();
}

void Model::fill_latent(const SourceCache& cache, const StateRows& states, Device::Lease& lease) {
  if (!config_.decoder.use_qk_norm) return;
  // Rows without keys: a device may multiply those of a source in another way than a decoder's.
  Batch batch;
  batch.clear(*decoder_pool_);
  batch.add_rows(states.rows(), 0, {});
  backend_.ops->upload(batch);
  for_blocks_of(states, [&](Tensor block, int64_t first) {
    decoder_.scale_latent(*cache.latent(), block, first, *decoder_workspace_);
    if (lease.give_way()) backend_.ops->upload(batch);
  });
  backend_.device->wait();
}

std::shared_ptr<const SourceCache> Model::project(const EncodedSource& source, ActiveAdapters adapters,
                                                  Interrupt* interrupt) {
  std::shared_ptr<SourceCache> made;
  Device::Lease lease(*backend_.device, interrupt);
  make_cache(source, std::move(adapters), made, lease);
  return made;
}

std::shared_ptr<const SourceCache> Model::project_and_keep(const EncodedSource& source, ActiveAdapters adapters,
                                                           Interrupt* interrupt) {
  std::shared_ptr<SourceCache> made;
  Device::Lease lease(*backend_.device, interrupt);
  if (auto found = source_caches_->find(source)) return found;
  make_cache(source, std::move(adapters), made, lease);
  if (auto found = source_caches_->find(source)) return found;  // somebody else was quicker
  source_caches_->insert(source, made);
  return made;
}

// Runs at most Ops::block_rows() tokens in all, and counts them in the caches -> their final hidden states.
Tensor Model::forward(std::span<const Step> steps, AttentionWatcher* watcher) {
  batch_.clear(*decoder_pool_);
  adapted_rows_.clear();
  for (const Step& step : steps) {
    const auto n = static_cast<int64_t>(step.ids.size());
    step.cache->reserve(n);
    add_adapted(*step.source, batch_.n_rows(), n, adapted_rows_);
    batch_.add_tokens(step.ids, step.cache->length(), step.cache->view(n), step.source->view(), step.source->latent());
  }
  backend_.ops->upload(batch_);
  const Tensor x = hidden_.view(batch_.n_rows());
  decoder_.forward(batch_, x, adapted_rows_, *decoder_workspace_, watcher);  // [R, D]
  for (const Step& step : steps) step.cache->advance(static_cast<int64_t>(step.ids.size()));
  return x;
}

// Answers what is asked about the last rows of each step, of which x has the final hidden states of the newest tokens.
void Model::answer(std::span<const Step> steps, Tensor x) {
  selections_.clear();
  wanted_rows_.clear();
  adapted_wanted_rows_.clear();
  int64_t end = 0;
  for (const Step& step : steps) {
    end += steps.size() == 1 ? x.rows : static_cast<int64_t>(step.ids.size());
    add_adapted(*step.source, std::ssize(wanted_rows_), std::ssize(step.wanted), adapted_wanted_rows_);
    int64_t row = end - std::ssize(step.wanted);
    for (Selection& selection : step.wanted) {
      selections_.push_back(&selection);
      wanted_rows_.push_back(static_cast<int32_t>(row++));
    }
  }
  Tensor wanted = x;
  if (std::ssize(wanted_rows_) < x.rows) {
    wanted = wanted_hidden_.view(std::ssize(wanted_rows_));
    backend_.ops->gather_rows(x, wanted_rows_, wanted);
  }
  decoder_.select(wanted, adapted_wanted_rows_, selections_);
}

size_t Model::run_some(std::span<const Step> steps, const FunctionRef<void()>* before_head) {
  const auto block_rows = static_cast<size_t>(backend_.ops->block_rows());
  size_t n = 0, rows = 0;
  while (n < steps.size() && steps[n].ids.size() <= kShortStep && rows + steps[n].ids.size() <= block_rows)
    rows += steps[n++].ids.size();
  if (n > 0) {
    const Tensor x = forward(steps.first(n));
    if (before_head != nullptr) (*before_head)();
    answer(steps.first(n), x);
    return n;
  }
  Step part = steps.front();
  Tensor x;
  for (std::span<const int32_t> left = part.ids; !left.empty(); left = left.subspan(part.ids.size())) {
    part.ids = left.first(std::min(left.size(), block_rows));
    x = forward({&part, 1});
  }
  if (before_head != nullptr) (*before_head)();
  answer({&part, 1}, x);
  return 1;
}

void Model::decode(std::span<const Step> steps, Interrupt* interrupt, const FunctionRef<void()>* before_head) {
  const Device::Lease lease(*backend_.device, interrupt);
  lengths_.clear();
  for (const Step& step : steps) lengths_.push_back(step.cache->length());
  try {
    for (std::span<const Step> left = steps; !left.empty(); before_head = nullptr)
      left = left.subspan(run_some(left, before_head));
  } catch (...) {
    for (size_t i = 0; i < steps.size(); ++i) steps[i].cache->undo(lengths_[i]);
    throw;
  }
  for (const Step& step : steps) step.cache->commit();
}

void Model::decode_all(const Step& step, Interrupt* interrupt) {
  Device::Lease lease(*backend_.device, interrupt);
  const auto block_rows = static_cast<size_t>(backend_.ops->block_rows());
  for (size_t begin = 0; begin < step.ids.size(); begin += block_rows) {
    Step part = step;
    part.ids = step.ids.subspan(begin, std::min(block_rows, step.ids.size() - begin));
    const Tensor x = forward({&part, 1});
    for (size_t row = 0; row < part.ids.size(); row += kLogitRows) {
      const size_t n = std::min(kLogitRows, part.ids.size() - row);
      selections_.clear();
      for (Selection& selection : step.wanted.subspan(begin + row, n)) selections_.push_back(&selection);
      adapted_wanted_rows_.clear();
      add_adapted(*step.source, 0, static_cast<int64_t>(n), adapted_wanted_rows_);
      decoder_.select(x.slice(static_cast<int64_t>(row), static_cast<int64_t>(row + n)), adapted_wanted_rows_,
                      selections_);
    }
    lease.give_way();  // the next block uploads its own batch
  }
}

std::vector<float> Model::attention(const EncodedSource& source, std::span<const int32_t> ids, size_t first,
                                    Interrupt* interrupt) {
  const std::shared_ptr<const SourceCache> projected = project_and_keep(source, interrupt);
  const size_t n_layers = config_.decoder.layer_types.size();
  AttentionQueries queries(*backend_.device, n_layers);
  KvCache cache = new_cache();
  {
    Device::Lease lease(*backend_.device, interrupt);
    const auto block_rows = static_cast<size_t>(backend_.ops->block_rows());
    for (size_t begin = 0; begin < ids.size(); begin += block_rows) {
      const Step part{projected.get(), &cache, ids.subspan(begin, std::min(block_rows, ids.size() - begin)), {}};
      forward({&part, 1}, &queries);
      lease.give_way();  // the next block uploads its own batch
    }
  }
  const StateRows& states = source.hidden_states();
  const int64_t key_size = int64_t{config_.decoder.num_key_value_heads} * config_.decoder.head_dim;
  const AttentionRows rows{static_cast<int64_t>(first), static_cast<int64_t>(ids.size() - first), states.rows()};
  std::vector<float> keys(static_cast<size_t>(states.rows() * key_size));
  std::vector<float> out(static_cast<size_t>(rows.n * rows.n_source));
  std::vector<AdaptedRows> adapted;
  add_adapted(*projected, 0, AdaptedRows::kAll, adapted);
  for (size_t layer = 0; layer < n_layers; ++layer) {
    {
      const Device::Lease lease(*backend_.device, interrupt);
      for_blocks_of(states, [&](Tensor block, int64_t begin) {
        backend_.device->download(
            decoder_.source_keys(layer, block, adapted, *decoder_workspace_),
            std::span(keys).subspan(static_cast<size_t>(begin * key_size), static_cast<size_t>(block.rows * key_size)));
      });
    }
    // What the host computes it computes without the device.
    add_attention(queries.layer(layer), keys, decoder_.source_attention(layer), rows,
                  1.0f / static_cast<float>(n_layers), out, interrupt);
  }
  return out;
}

void Model::log_sum_exps(std::span<const float> hidden_states, std::span<float> out, Interrupt* interrupt) {
  const Device::Lease lease(*backend_.device, interrupt);
  const size_t width = hidden_states.size() / out.size();
  std::vector<Selection> rows(std::min(kLogitRows, out.size()));
  for (size_t begin = 0; begin < out.size(); begin += kLogitRows) {
    const size_t n = std::min(kLogitRows, out.size() - begin);
    const Tensor x = wanted_hidden_.view(static_cast<int64_t>(n));
    backend_.device->upload(hidden_states.subspan(begin * width, n * width), x);
    selections_.clear();
    for (size_t i = 0; i < n; ++i) {
      rows[i].log_sum_exp = LogSumExp::kYes;
      selections_.push_back(&rows[i]);
    }
    // Where an adapter has a part in the head, the sum was computed with the logits.
    decoder_.select(x, {}, selections_);
    for (size_t i = 0; i < n; ++i) out[begin + i] = rows[i].found_log_sum_exp.value();
  }
}

}  // namespace t5g
