// The processors, one function and one table row each. Their order is Hugging Face's: bans may come in any order, but
// the penalty scales what the model said.
#include "sampling/processors.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace t5g::sampling {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

void ban(std::span<float> row, int32_t token) {
  if (token >= 0 && static_cast<size_t>(token) < row.size()) row[token] = kBanned;
}

// Every token of the target, once however often it occurs, is divided (above 0) or multiplied by the penalty.
void repetition_penalty(const ProcessorInput& in) {
  const float penalty = static_cast<float>(in.config.repetition_penalty);
  for (const int32_t token : in.ids) {
    if (token >= 0 && static_cast<size_t>(token) < in.row.size()) in.replaced.push_back({token, in.row[token]});
  }
  // A token that occurs twice was recorded twice with the same value, and is penalised to the same value twice.
  for (const auto& [token, value] : in.replaced) in.row[token] = value < 0 ? value * penalty : value / penalty;
}

// Bans each token that would complete a run of n tokens that the target already has.
void no_repeat_ngram(const ProcessorInput& in) {
  const size_t n = static_cast<size_t>(in.config.no_repeat_ngram_size);
  if (in.ids.size() < n) return;
  const auto last = in.ids.last(n - 1);
  for (size_t begin = 0; begin + n <= in.ids.size(); ++begin) {
    if (std::equal(last.begin(), last.end(), in.ids.begin() + begin)) ban(in.row, in.ids[begin + n - 1]);
  }
}

void min_new_tokens(const ProcessorInput& in) {
  if (in.n_generated >= in.config.min_new_tokens) return;
  for (const int32_t token : in.config.eos_token_ids) ban(in.row, token);
}

void suppress_tokens(const ProcessorInput& in) {
  for (const int32_t token : in.config.suppress_token_ids) ban(in.row, token);
}

struct Processor {
  bool (*is_used)(const GenerationConfig& config);
  void (*apply)(const ProcessorInput& input);
};

constexpr Processor kProcessors[] = {
    {[](const GenerationConfig& c) { return c.repetition_penalty != 1.0; }, repetition_penalty},
    {[](const GenerationConfig& c) { return c.no_repeat_ngram_size > 0; }, no_repeat_ngram},
    {[](const GenerationConfig& c) { return c.min_new_tokens > 0; }, min_new_tokens},
    {[](const GenerationConfig& c) { return !c.suppress_token_ids.empty(); }, suppress_tokens},
};

}  // namespace

void throw_all_banned() {
  throw Error(
      "generate: every token is banned at this position. Relax no_repeat_ngram_size, the suppressed tokens or the "
      "constraint.");
}

void LogitsProcessors::apply(std::span<float> row, std::span<const int32_t> ids) {
  replaced_.clear();
  const int64_t n_generated = static_cast<int64_t>(ids.size()) - prompt_length_;
  const ProcessorInput input{config_, ids, n_generated, row, replaced_};
  for (const Processor& processor : kProcessors) {
    if (processor.is_used(config_)) processor.apply(input);
  }
  if (allowed_ != nullptr) allowed_->mask(ids.subspan(prompt_length_), row);
}

float LogitsProcessors::original(std::span<const float> row, int32_t token) const {
  const auto found =
      std::find_if(replaced_.begin(), replaced_.end(), [token](const ReplacedLogit& r) { return r.token == token; });
  return found == replaced_.end() ? row[token] : found->value;
}

}  // namespace t5g::sampling
