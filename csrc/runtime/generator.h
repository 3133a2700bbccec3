// Generation for any number of sources at once. Up to a number of rows run as one batch; when a sequence ends, the next
// source takes its place. The tokens of each source are those it would get alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "runtime/generation_job.h"
#include "runtime/model.h"
#include "sampling/generation_config.h"

namespace t5g {

struct GenerationRequest {
  std::shared_ptr<const EncodedSource> source;  // or null: source_ids are encoded when the request's turn comes
  std::vector<int32_t> source_ids;
  std::vector<std::vector<uint8_t>> images;  // that source_ids mention: 8-bit pixels [image_size, image_size, 3]
  std::vector<int32_t> decoder_prefix;       // begins with the start token, or it is put in front
};

struct GenerationResult {
  std::vector<GeneratedSequence> sequences;  // at least one
  int64_t n_source_tokens = 0;
  double image_seconds = 0;   // reading the images
  double encode_seconds = 0;  // reading the source and preparing the decoder for it; 0 for a source encoded before
  double decode_seconds = 0;  // from the first decode step to the last
  int64_t n_new_tokens = 0;   // of all sequences
};

struct FinishedGeneration {
  size_t number;  // of the request: they count from 0 in the order in which they came
  GenerationResult result;
};

class Generator {
 public:
  // Checks every option and request before any work. max_batch: rows of a decode step at most (at least one request
  // runs however many rows it needs). Throws InvalidArgument, InputTooLong.
  Generator(std::shared_ptr<Model> model, std::vector<GenerationRequest> requests, GenerationConfig config,
            TextOptions text_options, int64_t max_batch);
  ~Generator();

  // One request more, behind those that wait; gives its number. Checked like the first ones, and refused alone.
  size_t add(GenerationRequest request);

  // Whether a request that is added now runs in the next step, because none waits and there are rows to spare.
  bool has_room() const;

  // One token more for every sequence of the batch, or several for some. False when there is nothing left to do. Throws
  // Cancelled when the interrupt says so; after cancel() it just returns false.
  bool step(Interrupt* interrupt = nullptr);

  // From any thread: the step in hand ends early, and all sequences that are not done count as cancelled.
  void cancel() { cancelled_.store(true); }

  // Text of the first request that has become certain since the last call.
  std::string take_text();

  // What has ended since the last call, in the order in which it ended.
  std::vector<FinishedGeneration> take_finished();

  // Those that nobody has taken yet, in the order of the requests; what has not ended counts as cancelled. Call once,
  // at the end.
  std::vector<GenerationResult> take_results();

 private:
  struct Entry;
  struct Running;
  class CancelInterrupt;

  bool fits_one_more() const;
  void start(Interrupt* interrupt);
  void retire(Running& running);
  void add_steps();

  const std::shared_ptr<Model> model_;
  GenerationConfig config_;
  const TextOptions text_options_;
  const int64_t max_batch_;
  const uint64_t seed_;
  size_t n_requests_ = 0;
  std::deque<std::unique_ptr<Entry>> waiting_;
  std::vector<Running> running_;
  std::vector<FinishedGeneration> finished_;
  std::string text_;
  std::vector<Model::Step> steps_;
  Buffer logits_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace t5g
