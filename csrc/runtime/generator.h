// Generation for any number of sources at once. Up to a number of rows run as one batch; when a sequence ends, the next
// source takes its place. Sources may come and leave while it runs, each with options of its own. The tokens of each
// source are those it would get alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/ticket_lock.h"
#include "runtime/generation_job.h"
#include "runtime/model_handle.h"
#include "sampling/generation_config.h"

namespace t5g {

// What a request may have of its own.
struct RequestOptions {
  GenerationConfig config;
  TextOptions text;
};

struct GenerationRequest {
  std::shared_ptr<const EncodedSource> source;  // or null: source_ids are encoded when the request's turn comes
  std::vector<int32_t> source_ids;
  AdapterChoices adapters;                        // that source_ids are read with, and answered
  std::vector<std::vector<uint8_t>> images;       // that source_ids mention: 8-bit pixels [image_size, image_size, 3]
  std::vector<int32_t> decoder_prefix;            // begins with the start token, or it is put in front
  std::shared_ptr<const RequestOptions> options;  // null: the generator's
  bool streams = false;                           // whether take_texts() gives its text
  int64_t n_truncated = 0;                        // tokens that the caller had cut from source_ids
};

struct GenerationResult {
  std::vector<GeneratedSequence> sequences;  // at least one
  int64_t n_source_tokens = 0;
  int64_t n_truncated = 0;    // of the source, before it was given
  double image_seconds = 0;   // reading the images
  double encode_seconds = 0;  // reading the source and preparing the decoder for it; 0 for a source encoded before
  double decode_seconds = 0;  // from the first decode step to the last
  int64_t n_new_tokens = 0;   // of all sequences
};

// Text of a running request that has become certain.
struct FreshText {
  size_t number;    // of the request
  size_t sequence;  // among those of the request
  std::string text;
  // Where log-probabilities are asked for, the tokens since the last text: those of this one, and maybe further ones
  // whose text is not certain.
  std::vector<FreshToken> tokens;
};

struct FinishedGeneration {
  size_t number;  // of the request: they count from 0 in the order in which they came
  GenerationResult result;
  std::exception_ptr error;  // that has ended it, where such are kept
};

// May be used from several threads: they take turns, and each text and result is given to one of them.
class Generator final : public ModelUser {
 public:
  // Checks every option and request before any work. max_batch: rows of a decode step at most (at least one request
  // runs however many rows it needs). Throws InvalidArgument, InputTooLong, ModelClosed.
  Generator(std::shared_ptr<ModelHandle> model, std::vector<GenerationRequest> requests, GenerationConfig config,
            TextOptions text_options, int64_t max_batch);
  ~Generator() override;

  // One request more, behind those that wait; gives its number. Checked like the first ones, and refused alone; refused
  // also when the generator was stopped.
  size_t add(GenerationRequest request);

  // From now on an error of one request (nothing is left to choose from; its constraint fails) is told with its result,
  // and the others go on. Otherwise it stops the generator.
  void keep_errors() { keeps_errors_.store(true); }

  // One request ends as cancelled, with what it has, or has never been one if it has not begun. Nothing happens to one
  // that is done. From any thread: waits for the step in hand.
  void cancel(size_t number);

  // Is told how far the reading of each source has come; for the steps from now on. Null: nobody is.
  void set_progress(std::shared_ptr<Progress> progress);

  // Whether a request with the generator's options that is added now runs in the next step, because none waits and
  // there are rows to spare.
  bool has_room() const;

  // One token more for every sequence of the batch, or several for some. False when there is nothing left to do, after
  // cancel() too. Throws Cancelled when the interrupt says so, and may then be called again as if nothing had happened.
  // Any other error stops the generator: what is not done counts as cancelled.
  bool step(Interrupt* interrupt = nullptr);

  // Steps until text of the first request has become certain -> that text; none at the end.
  std::optional<std::string> next_text(Interrupt* interrupt = nullptr);

  // Text of the first request that has become certain and that nobody has taken, without a step for more.
  std::string take_text();
  // How far it is, for all requests together.
  struct Reached {
    int64_t n_new_tokens;
    size_t n_finished;  // requests
  };
  Reached reached() const;

  // From any thread: the step in hand ends early, and all sequences that are not done count as cancelled.
  void cancel() { cancelled_.store(true); }
  // The same, and returns when what the sequences held is free; text that nobody has taken is gone. Called from inside
  // a step (by a signal handler), it leaves all that to the step.
  void close();

  // Stops the generator too; an unfinished one says so when it is asked for more.
  void let_go() noexcept override;

  // What requests that stream have written since the last call: one text of each sequence, however many steps there
  // were. What is certain only at the end, as with beam search, comes with the result alone.
  std::vector<FreshText> take_texts();

  // What has ended since the last call, in the order in which it ended.
  std::vector<FinishedGeneration> take_finished();

  // Those that nobody has taken yet, in the order of the requests; what has not ended counts as cancelled. Call once,
  // at the end.
  std::vector<GenerationResult> take_results();

  // Copies of the same, which remain; none as long as there is something left to do.
  std::optional<std::vector<GenerationResult>> results() const;

 private:
  struct Entry;
  struct Running;

  // All below: by the constructor, or by the thread whose turn it is.
  // Completes the config with what the model knows.
  static void check(const Model& model, GenerationConfig& config, const TextOptions& text);
  size_t check_and_add(const Model& model, GenerationRequest request);
  bool fits(const GenerationConfig& config) const;
  void start(Model& model, Interrupt* interrupt);
  void start_in_time(Model& model, Interrupt* interrupt);
  bool run_step(Model& model, Interrupt* interrupt);
  bool advance(Interrupt* interrupt);
  void take_text(Running& running);
  void retire(Running& running, FinishReason unfinished = FinishReason::kCancelled);
  void drop(std::unique_ptr<Entry> entry, FinishReason reason = FinishReason::kCancelled,
            std::exception_ptr error = nullptr);
  void expire();
  void attempt(Running& running, FunctionRef<void(GenerationJob&)> body);
  void add_steps(const Model& model);
  void decode(Model& model, Interrupt* interrupt);
  bool decode_in_time(Model& model, Interrupt* interrupt);
  void stop();

  const std::shared_ptr<ModelHandle> model_;
  mutable TicketLock lock_{"the stream"};
  GenerationConfig config_;
  const std::shared_ptr<const TextOptions> text_options_;
  const int64_t max_batch_;
  const uint64_t seed_;
  size_t n_requests_ = 0;
  std::deque<std::unique_ptr<Entry>> waiting_;
  std::vector<Running> running_;
  std::vector<FinishedGeneration> finished_;
  Reached ended_{};
  std::vector<FreshText> texts_;  // of requests that streamed and have ended
  std::string text_;              // of the first request, that nobody has taken
  bool has_text_ = false;         // whether somebody has taken any
  std::shared_ptr<Progress> progress_;
  std::vector<Model::Step> steps_;
  Buffer logits_;
  std::atomic<bool> keeps_errors_{false};
  bool stopped_ = false;
  bool lost_model_ = false;  // before it was done, and nobody has been told
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> idle_{true};  // nothing is left to do
};

}  // namespace t5g
