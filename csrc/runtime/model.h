// A loaded model, ready to run. Shared by any number of threads: each call takes the machine for one forward pass at a
// time (a Pass), so calls from several threads take turns instead of fighting for cores.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "gguf/reader.h"
#include "model/config.h"
#include "model/decoder.h"
#include "model/encoder.h"
#include "model/vision.h"
#include "model/weights.h"
#include "ops/ops.h"
#include "runtime/encoded_source.h"
#include "runtime/image_cache.h"
#include "runtime/kv_cache.h"
#include "runtime/memory.h"
#include "runtime/source_cache.h"
#include "text/tokenizer.h"

namespace t5g {

struct ModelOptions {
  LoadMode load = LoadMode::kMap;
  std::string device = "auto";  // "auto", "cpu", "cuda", "metal"
  int64_t n_threads = 0;        // 0: default_thread_count()
  EncoderWindow encoder_window = EncoderWindow::kExclusive;
  std::string kv_type = "auto";  // "auto", "f32", "f16", "q8_0": how the decoder's keys and values are stored
};

class Model {
 public:
  // Throws FileNotFound, IoError, ModelFormatError; InvalidArgument or Unsupported for the options.
  Model(const std::string& path, const ModelOptions& options);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const GgufFile& file() const { return file_; }
  const Config& config() const { return config_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // "cpu", ...
  const std::string& device() const { return device_; }
  int n_threads() const { return pool_.n_threads(); }
  // Of the decoder's keys and values.
  DataType kv_type() const { return kv_type_; }

  // A picture, 8-bit pixels [image_size, image_size, 3] -> its features; from the cache, where it was seen just before.
  // Throws Unsupported for a file without image tower, InvalidArgument for another size, Cancelled.
  std::shared_ptr<const ImageFeatures> encode_image(std::span<const uint8_t> pixels, Interrupt* interrupt = nullptr);

  // ids [S] and the features of the images they mention -> hidden states. S may be 0. Throws InvalidArgument for an id
  // outside the vocabulary or another number of image tokens than the images have, InputTooLong, Cancelled.
  using Images = std::vector<std::shared_ptr<const ImageFeatures>>;
  std::shared_ptr<const EncodedSource> encode(std::vector<int32_t> ids, const Images& images = {},
                                              Interrupt* interrupt = nullptr);

  // Throws InvalidArgument for a source of another model, or of one that reads sources of this length otherwise.
  // name: what the message calls it.
  void check_source(const EncodedSource& source, const std::string& name = "the source") const;
  // As EncodedSource::load.
  std::shared_ptr<const EncodedSource> load_source(const std::string& path) const;

  // The decoder's keys and values of a source. For one that will be used again they are kept, among those of the
  // sources used last. Throws as check_source, and Cancelled.
  std::shared_ptr<const SourceCache> project(const EncodedSource& source, Interrupt* interrupt = nullptr);
  std::shared_ptr<const SourceCache> project_and_keep(const EncodedSource& source, Interrupt* interrupt = nullptr);

  MemoryNeeds memory() const;

  // An empty cache for a new sequence.
  KvCache new_cache() const { return KvCache(pages_); }

  // What may follow a token, for one who wants the likeliest only.
  struct BestToken {
    // In: ids whose logits are wanted by themselves, ascending and without repeats. The best is one of the others.
    std::vector<int32_t> apart;
    // Out:
    std::vector<float> apart_logits;
    int32_t id = -1;  // -1: none of the others has a logit above -infinity
    float logit = 0;
    // log(sum(exp(logits))) where all logits had to be computed, and otherwise the final hidden state to get it from.
    std::optional<float> log_sum_exp;
    std::vector<float> hidden_state;
  };

  // New tokens of one sequence, as part of a batch.
  struct Step {
    const SourceCache* source;     // of this model
    KvCache* cache;                // grows by the ids
    std::span<const int32_t> ids;  // not empty
    // What follows each of the last best.size() ids; more than one for at most kShortStep ids. Empty: the logits after
    // the last id are wanted.
    std::span<BestToken> best = {};
  };
  // Steps of more ids, prompts, run by themselves.
  static constexpr size_t kShortStep = 32;
  // Runs the new tokens of every sequence. logits: one row for every step that has no `best`.
  void decode(std::span<const Step> steps, Tensor logits, Interrupt* interrupt = nullptr);

  // Teacher forcing: runs all tokens of one sequence and calls consume(first row, logits [n, V]) for consecutive rows,
  // a few at a time, so that memory does not grow with the target.
  using LogitsConsumer = FunctionRef<void(int64_t first_row, Tensor logits)>;
  void decode_all(const Step& step, LogitsConsumer consume, Interrupt* interrupt = nullptr);

  // log(sum(exp(logits))) of every row of final hidden states.
  void log_sum_exps(Tensor hidden_states, std::span<float> out, Interrupt* interrupt = nullptr);

  // Memory of hidden states that results keep for their log-probabilities, of all results together.
  const std::shared_ptr<std::atomic<int64_t>>& kept_state_bytes() const { return kept_state_bytes_; }

  // log(sum(exp(row))).
  float log_sum_exp(Tensor row) const { return ops_->log_sum_exp(row); }

  // Whether the file carries the chat template of the instruction-tuned T5Gemma.
  bool has_chat_template() const { return file_.has_key("tokenizer.chat_template"); }

  // Checks that ids hold as many image tokens as so many images have, where there are images.
  void check_images(std::span<const int32_t> ids, size_t n_images) const;
  // Checks that this model reads pictures, and pictures of this size.
  void check_pixels(std::span<const uint8_t> pixels) const;

  // Checks a source's or target's ids and length. side: "source" or "target".
  void check_ids(const std::string& side, std::span<const int32_t> ids, int64_t limit) const;

 private:
  class Pass;
  void check_has_vision() const;
  // Within a pass.
  std::shared_ptr<const SourceCache> make_source_cache(const EncodedSource& source);
  // Runs at most kBlockRows tokens in all -> x, their final hidden states, and counts them in the caches.
  void forward(std::span<const Step> steps, Tensor x);
  // Runs the first steps, as many as go together -> their number and `wanted`, the final hidden states somebody wants
  // to know more about.
  size_t run_some(std::span<const Step> steps, Tensor& wanted);
  // Fills in the steps' `best` from final hidden states.
  void find_best(std::span<const Step> steps, Tensor x);
  // Logits of a few rows, which live until the next call.
  Tensor head_block(Tensor x);

  GgufFile file_;
  const Config config_;
  std::unique_ptr<const Tokenizer> tokenizer_;
  const std::string device_;
  const SourceOrigin source_origin_;  // of what this model encodes
  ThreadPool pool_;
  std::unique_ptr<Ops> ops_;
  const Weights weights_;
  const DataType kv_type_;
  const Encoder encoder_;
  const Decoder decoder_;
  const std::optional<VisionTower> vision_;
  ImageCache image_cache_;  // used by the thread that holds the pool
  std::shared_ptr<SourceCacheStore> source_caches_;
  std::shared_ptr<PagePool> pages_;
  // What a pass writes to; used by the thread that holds the pool.
  Workspace encoder_workspace_;
  Workspace decoder_workspace_;
  Buffer hidden_;                   // [kBlockRows, D]
  Buffer last_hidden_;              // [kBlockRows, D], the last rows of each sequence
  Buffer logits_;                   // of head_block()
  std::vector<BestQuery> queries_;  // of the step in hand
  std::shared_ptr<std::atomic<int64_t>> kept_state_bytes_;
  std::vector<DecoderInput> inputs_;  // of the step in hand
};

}  // namespace t5g
