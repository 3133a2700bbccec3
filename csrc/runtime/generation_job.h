// One request's way through generation: what to run in the next decode step, and what to do with the logits. The
// generator runs the steps of many jobs as one batch; a job never knows what runs beside it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/model.h"
#include "sampling/generation_config.h"
#include "tensor/tensor.h"

namespace t5g {

enum class FinishReason { kStop, kLength, kCancelled };

struct GeneratedSequence {
  std::vector<int32_t> token_ids;  // generated ones only, with the token that ended it
  std::string text;                // without special tokens, and without the stop string that ended it
  double logprob = 0;              // sum of the model's own log-probabilities of token_ids
  FinishReason finish_reason = FinishReason::kCancelled;
};

struct JobInput {
  Model& model;
  std::shared_ptr<const EncodedSource> source;  // prepared
  std::vector<int32_t> prompt_ids;              // start token and decoder prefix
  const GenerationConfig& config;               // max_new_tokens already within the model's limit
  const std::vector<std::string>& stop;
  uint64_t seed;
};

class GenerationJob {
 public:
  virtual ~GenerationJob() = default;

  // The sequences to run next, none when done: their ids and caches stay valid until take_logits().
  virtual void add_steps(std::vector<Model::Step>& steps) = 0;
  // The logits of those sequences, in the same order; changed in place.
  virtual void take_logits(Tensor logits) = 0;
  virtual bool done() const = 0;

  // Text that has become certain since the last call; of the first sequence, where there are several.
  virtual std::string take_text() = 0;
  // All sequences, best or first one first. Sequences that are not done count as cancelled.
  virtual std::vector<GeneratedSequence> finish() = 0;
  // Tokens generated so far, all sequences together.
  virtual int64_t n_generated() const = 0;
  // Rows that add_steps() may add at most.
  virtual int64_t max_rows() const = 0;
};

// Greedy or sampling: num_return_sequences independent sequences.
std::unique_ptr<GenerationJob> make_sampling_job(JobInput input);
// Beam search.
std::unique_ptr<GenerationJob> make_beam_job(JobInput input);

}  // namespace t5g
