// Sums of log-probabilities, each in float as every sampler computes it, added in double in the order of the tokens.
#include "runtime/kept_logprob.h"

namespace t5g {
namespace {

// The few results that a program looks at keep less than this; one that collects thousands must not fill the memory
// with their states.
constexpr int64_t kMaxKeptBytes = int64_t{32} << 20;
// Enough rows for the output head to be a matrix product rather than a run through memory for each of them.
constexpr size_t kRowsAtOnce = 64;

int64_t bytes_of(const std::vector<float>& states) { return static_cast<int64_t>(states.size() * sizeof(float)); }

}  // namespace

KeptLogprob::~KeptLogprob() { kept_bytes_->fetch_sub(bytes_of(states_)); }

void KeptLogprob::keep_less() {
  if (kept_bytes_->load() <= kMaxKeptBytes) return;
  try {
    compute(nullptr);
  } catch (const ModelClosed&) {
    // Generating ends for the same reason, and sum() will tell it.
  }
}

void KeptLogprob::add(const Selection& answer, float logit) {
  if (!answer.found_log_sum_exp.has_value()) {
    missing_.push_back(logits_.size());
    states_.insert(states_.end(), answer.hidden.begin(), answer.hidden.end());
    kept_bytes_->fetch_add(bytes_of(answer.hidden));
  }
  logits_.push_back(logit);
  log_sums_.push_back(answer.found_log_sum_exp.value_or(0.0f));
  if (missing_.size() >= kRowsAtOnce) keep_less();
}

void KeptLogprob::end() { keep_less(); }

void KeptLogprob::compute_all(Interrupt* interrupt) {
  try {
    compute(interrupt);
  } catch (const ModelClosed&) {
    throw ModelClosed("logprob: the model was closed before it was asked for. Read it while the model is open.");
  }
}

std::vector<float> KeptLogprob::each(Interrupt* interrupt) {
  const TicketLock::Guard guard(lock_, interrupt);
  compute_all(interrupt);
  std::vector<float> each(logits_.size());
  for (size_t i = 0; i < each.size(); ++i) each[i] = logits_[i] - log_sums_[i];
  return each;
}

double KeptLogprob::sum(Interrupt* interrupt) {
  const TicketLock::Guard guard(lock_, interrupt);
  compute_all(interrupt);
  double sum = 0;
  for (size_t i = 0; i < logits_.size(); ++i) sum += static_cast<double>(logits_[i] - log_sums_[i]);
  return sum;
}

void KeptLogprob::compute(Interrupt* interrupt) {
  if (missing_.empty()) return;
  std::vector<float> found(missing_.size());
  handle_->use(interrupt, [&](Model& model, Interrupt* stop) { model.log_sum_exps(states_, found, stop); });
  for (size_t i = 0; i < missing_.size(); ++i) log_sums_[missing_[i]] = found[i];
  kept_bytes_->fetch_sub(bytes_of(states_));
  missing_.clear();
  std::vector<float>().swap(states_);
}

}  // namespace t5g
