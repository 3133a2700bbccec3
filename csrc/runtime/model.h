// A loaded model, ready to run. Used by any number of threads: each call takes the device for one forward pass at a
// time (Device::Lease), so calls from several threads wait for each other (a ticket lock) and do not fight for cores.
// Long passes give way between blocks.
// Who keeps a model for later keeps its ModelHandle, so that it can be closed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "gguf/reader.h"
#include "model/config.h"
#include "model/decoder.h"
#include "model/encoder.h"
#include "model/vision.h"
#include "model/weights.h"
#include "ops/backends.h"
#include "runtime/adapter.h"
#include "runtime/encoded_source.h"
#include "runtime/image_cache.h"
#include "runtime/kv_cache.h"
#include "runtime/memory.h"
#include "runtime/source_cache.h"
#include "text/tokenizer.h"

namespace t5g {

inline constexpr int64_t kDefaultSourceCacheBudget = int64_t{512} << 20;

enum class SourceCacheKind : uint8_t { kAuto, kKeys, kLatent };

struct ModelOptions {
  LoadMode load = LoadMode::kMap;
  std::string device = "auto";  // see make_backend()
  int64_t n_threads = 0;        // 0: default_thread_count()
  EncoderWindow encoder_window = EncoderWindow::kExclusive;
  std::string kv_type = "auto";  // "auto", "f32", "f16", "q8_0": how the decoder's keys and values are stored
  // What is kept of a source for the decoder: "keys", "latent", or "auto": keys where they take no more bytes than the
  // budget.
  std::string source_cache = "auto";
  int64_t source_cache_budget = kDefaultSourceCacheBudget;
  int64_t max_source_tokens = 0;  // 0: what the file says
  int64_t max_target_tokens = 0;
};

// Where a model's file is. One of path, descriptor and memory says so; path is also what errors call it.
struct ModelLocation {
  std::string path;
  // Part of a file that is open; the descriptor stays the caller's.
  int descriptor = -1;
  uint64_t offset = 0, size_bytes = InputFile::kToTheEnd;
  // Aligned to 8 bytes; stays where it is as long as the model, which LoadMode does not change.
  std::span<const std::byte> memory = {};
  std::shared_ptr<const void> owner = nullptr;  // of that memory, which the model keeps; or it is the caller's

  GgufFile open() const;
};

class Model {
 public:
  // Throws FileNotFound, IoError, ModelFormatError; InvalidArgument or Unsupported for the options.
  Model(const ModelLocation& location, const ModelOptions& options);
  ~Model() { source_caches_->clear(); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const GgufFile& file() const { return file_; }
  const Config& config() const { return config_; }
  // Lives as long as somebody keeps it, without the model.
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  // "cpu", ...
  std::string device() const { return backend_.device->name(); }
  int n_threads() const { return backend_.device->n_threads(); }
  // Of the decoder's keys and values, and of the encoder's output where that stands in for them.
  DataType kv_type() const { return kv_type_; }
  // Whether a source of so many tokens is kept as the encoder's output alone.
  bool keeps_latent(int64_t n_tokens) const;

  // An image, 8-bit pixels [image_size, image_size, 3] -> its features; from the cache, where it was seen just before.
  // Throws Unsupported for a file without image tower, InvalidArgument for another size, Cancelled. progress: told from
  // 0 to all, in patches, or of all at once.
  std::shared_ptr<const ImageFeatures> encode_image(std::span<const uint8_t> pixels, Interrupt* interrupt = nullptr,
                                                    const ActiveAdapters& adapters = {}, Progress* progress = nullptr);

  // ids [S] and the features of the images they mention -> hidden states. S may be 0. Throws InvalidArgument for an id
  // outside the vocabulary or another number of image tokens than the images have, InputTooLong, Cancelled.
  // progress: told from 0 to S, in tokens. n_truncated: see EncodedSource. Throws OutOfMemory before it begins where
  // the machine has less free than check_memory() says.
  using Images = std::vector<std::shared_ptr<const ImageFeatures>>;
  std::shared_ptr<const EncodedSource> encode(std::vector<int32_t> ids, const Images& images = {},
                                              Interrupt* interrupt = nullptr, Progress* progress = nullptr,
                                              int64_t n_truncated = 0);

  // What a source of so many tokens needs beside what the model has already: at most while it is read, and then as long
  // as a target is written.
  SourceBytes source_bytes(int64_t n_tokens) const;
  // Throws OutOfMemory, with both numbers, where the host has less free than that.
  void check_memory(int64_t n_tokens) const;

  // A source to encode.
  struct Unread {
    std::vector<int32_t> ids;
    Images images;
    ActiveAdapters adapters;
    int64_t n_padding = 0;    // rows after its own
    int64_t n_truncated = 0;  // tokens that the caller had cut away
  };
  // Several in one pass, each with the bits that it has alone. layer: SourceOrigin's. Padding: of a single source.
  using Sources = std::vector<std::shared_ptr<const EncodedSource>>;
  Sources encode(std::vector<Unread> sources, int layer, Interrupt* interrupt = nullptr, Progress* progress = nullptr);

  // ---- Adapters ----
  // Throws what Adapter's constructor throws, and InvalidArgument for a name that is taken or a scale that is no
  // number.
  void load_adapter(const std::string& path, const std::string& name, float scale, Interrupt* interrupt = nullptr);
  void unload_adapter(const std::string& name) { adapters_.remove(name); }
  const AdapterStore& adapters() const { return adapters_; }

  // Throws InvalidArgument for a source of another model, or of one that reads sources of this length otherwise.
  // name: what the message calls it.
  void check_source(const EncodedSource& source, const std::string& name = "the source") const;
  // The same, and for one that the decoder cannot read: of another layer than the last, or made with adapters that are
  // not loaded. Throws Unsupported where there is no decoder. -> those adapters.
  ActiveAdapters check_readable(const EncodedSource& source, const std::string& name = "the source") const;
  // Throws InvalidArgument where a call asks for other adapters than the source was made with.
  void check_adapters(const EncodedSource& source, const AdapterChoices& choices, const std::string& name) const;
  // As EncodedSource::load.
  std::shared_ptr<const EncodedSource> load_source(const std::string& path) const;
  // As EncodedSource::from_bytes.
  std::shared_ptr<const EncodedSource> load_source(std::span<const std::byte> bytes) const;

  // The decoder's keys and values of a source. For one that will be used again they are kept, among those of the
  // sources used last. adapters: the source's own, as check_readable() gave them, which may have been unloaded since.
  // Throws Cancelled; without adapters, what check_readable() throws.
  std::shared_ptr<const SourceCache> project(const EncodedSource& source, ActiveAdapters adapters,
                                             Interrupt* interrupt = nullptr);
  std::shared_ptr<const SourceCache> project_and_keep(const EncodedSource& source, ActiveAdapters adapters,
                                                      Interrupt* interrupt = nullptr);
  std::shared_ptr<const SourceCache> project_and_keep(const EncodedSource& source, Interrupt* interrupt = nullptr) {
    return project_and_keep(source, check_readable(source), interrupt);
  }

  MemoryNeeds memory() const;

  // Throws Unsupported for a file that is an encoder alone.
  void check_has_decoder() const;

  // An empty cache for a new sequence.
  KvCache new_cache() const { return KvCache(decoder_pool_, sliding_layers_); }

  // New tokens of one sequence, as part of a batch.
  struct Step {
    const SourceCache* source;     // of this model
    KvCache* cache;                // grows by the ids
    std::span<const int32_t> ids;  // not empty
    // Questions about what follows each of the last wanted.size() ids, and then their answers; more than one for at
    // most kShortStep ids.
    std::span<Selection> wanted;
  };
  // Steps of more ids, prompts, run by themselves.
  static constexpr size_t kShortStep = 32;
  // Runs the new tokens of every sequence. When it throws, no cache has changed, so that the same steps may be run
  // again. before_head: called once, before the first question is answered: it may be what puts them.
  void decode(std::span<const Step> steps, Interrupt* interrupt = nullptr,
              const FunctionRef<void()>* before_head = nullptr);

  // Teacher forcing: runs all tokens of one sequence, of any number, and answers one question about each.
  void decode_all(const Step& step, Interrupt* interrupt = nullptr);

  // Where the decoder looked in the source at each of the last tokens of `ids`, from `first` on, on its way to the next
  // one: [ids.size() - first, S], averaged over layers and heads. The source's part of the weights as they are: in
  // merged attention they add up to less than 1.
  std::vector<float> attention(const EncodedSource& source, std::span<const int32_t> ids, size_t first,
                               Interrupt* interrupt = nullptr);

  // log(sum(exp(logits))) of every row of final hidden states [out.size(), D].
  void log_sum_exps(std::span<const float> hidden_states, std::span<float> out, Interrupt* interrupt = nullptr);

  // Memory of hidden states that results keep for their log-probabilities, of all results together.
  const std::shared_ptr<std::atomic<int64_t>>& kept_state_bytes() const { return kept_state_bytes_; }

  // Checks that ids hold as many image tokens as so many images have, where there are images.
  void check_images(std::span<const int32_t> ids, size_t n_images) const;
  // Checks that this model reads images, and images of this size.
  void check_pixels(std::span<const uint8_t> pixels) const;

  // Checks a source's or target's ids and length against its side of the config. name: what errors call it.
  static void check_ids(const std::string& name, std::span<const int32_t> ids, const TextConfig& side);

 private:
  EncodedSource::Expected expected_source() const;
  void check_has_vision() const;
  void run_encoder(std::span<const Unread> sources, int layer, std::span<float> states, Interrupt* interrupt,
                   Progress* progress);
  // How the states of a source that has been read are kept: `all` has a row for each token and those of padding.
  StateRows keep(const Unread& source, int layer, Buffer all, Interrupt* interrupt) const;
  // Whether what a source was made with, or the model, asks for keys and values of it, and not for a latent.
  bool keeps_keys(int64_t n_tokens, const ActiveAdapters& adapters) const;
  // Made and filled, within a lease that they outlive.
  void make_cache(const EncodedSource& source, ActiveAdapters adapters, std::shared_ptr<SourceCache>& made,
                  Device::Lease& lease);
  void fill_keys(const SourceCache& cache, const StateRows& states, Device::Lease& lease);
  void fill_latent(const SourceCache& cache, const StateRows& states, Device::Lease& lease);
  template <typename Body>
  void for_blocks_of(const StateRows& states, Body body);
  Tensor forward(std::span<const Step> steps, AttentionWatcher* watcher = nullptr);
  void answer(std::span<const Step> steps, Tensor x);
  // Runs the first steps, as many as go together -> their number.
  size_t run_some(std::span<const Step> steps, const FunctionRef<void()>* before_head);

  const std::shared_ptr<const void> memory_owner_;
  GgufFile file_;
  const Config config_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const SourceOrigin source_origin_;  // of what this model encodes
  const Backend backend_;
  const Weights weights_;
  const DataType kv_type_;
  const SourceCacheKind source_cache_;
  const int64_t source_cache_budget_;
  const Encoder encoder_;
  const Decoder decoder_;
  const std::optional<VisionTower> vision_;
  // Keys and values: of one layer at a time, of every layer of the decoder, of one layer of the image tower. What the
  // file does not have has no pool.
  const std::shared_ptr<KvPool> encoder_pool_, decoder_pool_, image_pool_;
  const std::shared_ptr<const SlidingLayers> sliding_layers_;  // of the decoder
  const std::shared_ptr<SourceCacheStore> source_caches_;
  AdapterStore adapters_;
  // What follows is used by the thread that holds the device.
  ImageCache image_cache_;
  Workspace encoder_workspace_;
  std::optional<Workspace> decoder_workspace_;
  Batch batch_;                       // of the decode step in hand
  Floats source_block_;               // [b, D of the encoder],
  std::vector<float> source_floats_;  // and on the host
  Floats hidden_;                     // [b, D], final hidden states,
  Floats wanted_hidden_;              // and those of them that somebody asks about
  std::vector<int32_t> wanted_rows_;
  std::vector<AdaptedRows> adapted_rows_, adapted_wanted_rows_;
  std::vector<Selection*> selections_;
  std::shared_ptr<std::atomic<int64_t>> kept_state_bytes_;
  std::vector<int64_t> lengths_;  // of the caches, before the step in hand
};

}  // namespace t5g
