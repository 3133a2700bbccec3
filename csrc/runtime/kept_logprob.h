// The log-probability of a text that was found without computing all logits of its tokens (see Selection): the
// final hidden states are kept, and the rest of the output head is computed when somebody asks, for many tokens at
// once.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/ticket_lock.h"
#include "runtime/model_handle.h"

namespace t5g {

class KeptLogprob {
 public:
  // model: of the handle.
  KeptLogprob(std::shared_ptr<ModelHandle> handle, const Model& model)
      : handle_(std::move(handle)), kept_bytes_(model.kept_state_bytes()) {}
  ~KeptLogprob();
  KeptLogprob(const KeptLogprob&) = delete;
  KeptLogprob& operator=(const KeptLogprob&) = delete;

  // By the one who generates. The next token, whose own logit this is. answer: to the question about its row, with
  // log_sum_exp or the hidden state. May compute what is missing so far, where all results of the model together keep
  // too much.
  void add(const Selection& answer, float logit);
  // After the last token.
  void end();
  // Whether sum() has nothing to compute.
  bool complete() const { return missing_.empty(); }

  // After end(), from any thread: the sum of the tokens' log-probabilities. Throws ModelClosed where it is too late to
  // compute it, and Cancelled.
  double sum(Interrupt* interrupt = nullptr);
  // ... each of them.
  std::vector<float> each(Interrupt* interrupt = nullptr);

 private:
  void compute_all(Interrupt* interrupt);
  void compute(Interrupt* interrupt);
  void keep_less();

  const std::shared_ptr<ModelHandle> handle_;
  const std::shared_ptr<std::atomic<int64_t>> kept_bytes_;
  TicketLock lock_{"logprob"};  // for what sum() changes
  std::vector<float> logits_;
  std::vector<float> log_sums_;
  std::vector<size_t> missing_;  // indices of the tokens whose log_sums_ are missing
  std::vector<float> states_;    // [missing, D]
};

}  // namespace t5g
