// The processors, two functions and one table row each. Their order is Hugging Face's: bans may come in any order, but
// the penalty scales what the model said.
#include "sampling/processors.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"

namespace t5g::sampling {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

void ban(const LogitRow& row, int32_t token) {
  if (float* logit = row.find(token)) *logit = kBanned;
}

void add(std::vector<int32_t>& tokens, std::span<const int32_t> more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

// Every token of the target, once however often it occurs, is divided (above 0) or multiplied by the penalty.
void penalise_repetition(const SequenceState& state, const LogitRow& row, std::vector<ReplacedLogit>& replaced) {
  const float penalty = static_cast<float>(state.config.repetition_penalty);
  const auto first = std::ssize(replaced);
  for (const int32_t token : state.ids) {
    if (const float* logit = row.find(token)) replaced.push_back({token, *logit});
  }
  // A token that occurs twice was recorded twice with the same value, and is penalised to the same value twice.
  for (auto r = replaced.begin() + first; r != replaced.end(); ++r)
    *row.find(r->token) = r->value < 0 ? r->value * penalty : r->value / penalty;
}

// Calls body(token) for each token that would complete a run of n tokens that the target already has.
template <typename Body>
void for_each_repeat(const SequenceState& state, Body body) {
  const size_t n = static_cast<size_t>(state.config.no_repeat_ngram_size);
  if (state.ids.size() < n) return;
  const auto last = state.ids.last(n - 1);
  for (size_t begin = 0; begin + n <= state.ids.size(); ++begin) {
    if (std::equal(last.begin(), last.end(), state.ids.begin() + static_cast<std::ptrdiff_t>(begin)))
      body(state.ids[begin + n - 1]);
  }
}

std::span<const int32_t> too_early(const SequenceState& state) {
  if (state.n_generated >= state.config.min_new_tokens) return {};
  return state.config.eos_token_ids;
}

constexpr Processor kProcessors[] = {
    // repetition_penalty
    {[](const GenerationConfig& c) { return c.repetition_penalty != 1.0; },
     [](const SequenceState& state, std::vector<int32_t>& tokens) { add(tokens, state.ids); }, penalise_repetition},
    // no_repeat_ngram_size
    {[](const GenerationConfig& c) { return c.no_repeat_ngram_size > 0; },
     [](const SequenceState& state, std::vector<int32_t>& tokens) {
       for_each_repeat(state, [&](int32_t token) { tokens.push_back(token); });
     },
     [](const SequenceState& state, const LogitRow& row, std::vector<ReplacedLogit>&) {
       for_each_repeat(state, [&](int32_t token) { ban(row, token); });
     }},
    // min_new_tokens
    {[](const GenerationConfig& c) { return c.min_new_tokens > 0; },
     [](const SequenceState& state, std::vector<int32_t>& tokens) { add(tokens, too_early(state)); },
     [](const SequenceState& state, const LogitRow& row, std::vector<ReplacedLogit>&) {
       for (const int32_t token : too_early(state)) ban(row, token);
     }},
    // suppressed tokens
    {[](const GenerationConfig& c) { return !c.suppress_token_ids.empty(); },
     [](const SequenceState& state, std::vector<int32_t>& tokens) { add(tokens, state.config.suppress_token_ids); },
     [](const SequenceState& state, const LogitRow& row, std::vector<ReplacedLogit>&) {
       for (const int32_t token : state.config.suppress_token_ids) ban(row, token);
     }},
};

}  // namespace

std::span<const Processor> processors() { return kProcessors; }

void throw_all_banned() {
  throw Error(
      "generate: every token is banned at this position. Relax no_repeat_ngram_size, the suppressed tokens or the "
      "constraint.");
}

float* LogitRow::find(int32_t token) const {
  if (!is_sparse_) return token >= 0 && token < std::ssize(values_) ? &values_[static_cast<size_t>(token)] : nullptr;
  const auto place = std::lower_bound(ids_.begin(), ids_.end(), token);
  if (place == ids_.end() || *place != token)
    throw Error("a logits processor changes token " + std::to_string(token) + ", which it did not say it touches.");
  return &values_[static_cast<size_t>(place - ids_.begin())];
}

LogitsProcessors::LogitsProcessors(const GenerationConfig& config, int64_t prompt_length, AllowedTokens* allowed,
                                   std::span<const Processor> more)
    : config_(config), prompt_length_(prompt_length), allowed_(allowed) {
  for (const std::span<const Processor> steps : {processors(), more}) {
    std::copy_if(steps.begin(), steps.end(), std::back_inserter(steps_),
                 [&](const Processor& step) { return step.is_used(config_); });
  }
}

SequenceState LogitsProcessors::state(std::span<const int32_t> ids) const {
  return {config_, ids, std::ssize(ids) - prompt_length_};
}

void LogitsProcessors::touched(std::span<const int32_t> ids, std::vector<int32_t>& tokens) const {
  tokens.clear();
  for (const Processor& step : steps_) step.touches(state(ids), tokens);
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
}

void LogitsProcessors::run(const LogitRow& row, std::span<const int32_t> ids) {
  replaced_.clear();
  for (const Processor& step : steps_) step.apply(state(ids), row, replaced_);
}

void LogitsProcessors::apply(std::span<float> row, std::span<const int32_t> ids) {
  run(LogitRow(row), ids);
  if (allowed_ != nullptr) allowed_->mask(ids.subspan(static_cast<size_t>(prompt_length_)), row);
}

void LogitsProcessors::apply(Selection& answer, std::span<const int32_t> ids) {
  run(LogitRow(answer.ids, answer.values), ids);
}

float LogitsProcessors::original(int32_t token, float value) const {
  const auto found =
      std::find_if(replaced_.begin(), replaced_.end(), [token](const ReplacedLogit& r) { return r.token == token; });
  return found == replaced_.end() ? value : found->value;
}

BestToken choose_best(LogitsProcessors& processors, Selection& answer, std::span<const int32_t> ids) {
  processors.apply(answer, ids);
  ScoredToken best{kBanned, -1};
  if (!answer.best.empty()) best = answer.best.front();
  for (size_t i = 0; i < answer.ids.size(); ++i) {
    const ScoredToken token{answer.values[i], answer.ids[i]};
    if (token.value > kBanned && (best.id < 0 || better(token, best))) best = token;
  }
  if (best.id < 0) throw_all_banned();
  return {best.id, processors.original(best.id, best.value)};
}

}  // namespace t5g::sampling
