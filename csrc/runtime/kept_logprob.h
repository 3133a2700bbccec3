// The log-probability of a text that was found without computing all logits of its tokens (see Selection): the
// final hidden states are kept, and the rest of the output head is computed when somebody asks, for many tokens at
// once.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/model.h"

namespace t5g {

class KeptLogprob {
 public:
  explicit KeptLogprob(const Model& model) : kept_bytes_(model.kept_state_bytes()) {}
  ~KeptLogprob();
  KeptLogprob(const KeptLogprob&) = delete;
  KeptLogprob& operator=(const KeptLogprob&) = delete;

  // The next token, whose own logit this is. answer: to the question about its row, with log_sum_exp or the hidden
  // state. May compute what is missing so far, where all results of the model together keep too much.
  void add(Model& model, const Selection& answer, float logit);
  // After the last token.
  void end(Model& model);

  // Whether sum() has nothing to compute.
  bool complete() const;

  // Sum of the tokens' log-probabilities. model: the one they were generated with. May be called by several threads.
  double sum(Model& model, Interrupt* interrupt = nullptr);

 private:
  void compute(Model& model, Interrupt* interrupt);
  bool too_much() const;

  const std::shared_ptr<std::atomic<int64_t>> kept_bytes_;
  mutable std::mutex mutex_;
  std::vector<float> logits_;
  std::vector<float> log_sums_;
  std::vector<size_t> missing_;  // indices of the tokens whose log_sums_ are missing
  std::vector<float> states_;    // [missing, D]
};

}  // namespace t5g
