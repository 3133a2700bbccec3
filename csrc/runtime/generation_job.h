// One request's way through generation: what to run and to ask in the next decode step, and what to do with the
// answers. The generator runs the steps of many jobs as one batch; a job never knows what runs beside it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/model_handle.h"
#include "runtime/sequence_text.h"
#include "sampling/generation_config.h"
#include "sampling/processors.h"

namespace t5g {

class KeptLogprob;

enum class FinishReason { kStop, kLength, kCancelled, kTimeout };

struct GeneratedSequence {
  std::vector<int32_t> token_ids;             // generated ones only, with the token that ended it
  std::string text;                           // without special tokens, and without the stop string that ended it
  double logprob = 0;                         // sum of the model's own log-probabilities of token_ids,
  std::vector<float> token_logprobs;          // each of them,
  std::shared_ptr<KeptLogprob> kept_logprob;  // or, where set, what both can be computed from
  // Of every token the likeliest ones there and their log-probabilities, where they were asked for.
  std::vector<std::vector<ScoredToken>> top_logprobs;
  std::optional<float> score;  // of beam search, by which its sequences are sorted
  FinishReason finish_reason = FinishReason::kCancelled;
};

// A token of a sequence that goes on, with its own log-probability and the likeliest ones at its place.
struct FreshToken {
  int32_t id;
  float logprob;
  std::vector<ScoredToken> top;
};

// The model is there while the job is made and while it takes logits; the job itself may live longer.
struct JobInput {
  const std::shared_ptr<ModelHandle>& handle;
  const Model& model;  // of the handle
  std::vector<int32_t> source_ids;
  std::shared_ptr<const SourceCache> source;  // of the same model
  std::vector<int32_t> prompt_ids;            // start token and decoder prefix
  const GenerationConfig& config;             // max_new_tokens already within the model's limit
  const TextOptions& text;
  uint64_t seed;
  bool streams = false;                                       // whether somebody takes tokens before the end
  std::span<const sampling::Processor> more_processors = {};  // see sampling::LogitsProcessors; not in beam search
};

class GenerationJob {
 public:
  virtual ~GenerationJob() = default;

  // Whole rows of logits that the next step needs memory for.
  virtual int64_t n_logit_rows() const { return 0; }
  // The sequences to run next, none when done: what they point to stays valid until take(). max_draft: tokens that may
  // be run on the chance that they come next. logits: [n_logit_rows(), V].
  virtual void add_steps(std::vector<Model::Step>& steps, int64_t max_draft, std::span<float> logits) = 0;
  // Then: finds what may come next, where there is a constraint; on any thread. thinks_beside(): whether that takes
  // time in which the model can run the steps.
  virtual void think() = 0;
  virtual bool thinks_beside() const = 0;
  // Then, before the steps come to the output head: puts their questions.
  virtual void ask() = 0;
  // After the steps, whose questions are answered.
  virtual void take() = 0;
  virtual bool done() const = 0;

  // Text of one of the sequences that has become certain since the last call.
  virtual std::string take_text(size_t sequence) = 0;
  // Its tokens since the last call, where config.logprobs asks for what is told of them.
  virtual std::vector<FreshToken> take_tokens(size_t sequence) = 0;
  // All sequences, best or first one first. Sequences that are not done count as cancelled. Needs no model.
  virtual std::vector<GeneratedSequence> finish() = 0;
  // Tokens generated so far, all sequences together.
  virtual int64_t n_generated() const = 0;
  // Rows that add_steps() may add at most.
  virtual int64_t max_rows() const = 0;
};

// Greedy decoding, and sampling: independent sequences.
std::unique_ptr<GenerationJob> make_sequences_job(JobInput input);
// Beam search.
std::unique_ptr<GenerationJob> make_beam_job(JobInput input);

}  // namespace t5g
