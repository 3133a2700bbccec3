// The processors, two functions and one table row each. Their order is Hugging Face's: bans may come in any order, but
// a bias comes before the penalties, which scale what is there.
#include "sampling/processors.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"

namespace t5g::sampling {
namespace {

using Tokens = std::vector<int32_t>;
using Replaced = std::vector<ReplacedLogit>;

void ban(const LogitRow& row, int32_t token) {
  if (float* logit = row.find(token)) *logit = kBanned;
}

void add(Tokens& tokens, std::span<const int32_t> more) { tokens.insert(tokens.end(), more.begin(), more.end()); }

// Every token of `ids`, once however often it occurs, is divided (above 0) or multiplied by the penalty.
void penalise(std::span<const int32_t> ids, double penalty_of_option, const LogitRow& row, Replaced& replaced) {
  const float penalty = static_cast<float>(penalty_of_option);
  const auto first = std::ssize(replaced);
  for (const int32_t token : ids) {
    if (const float* logit = row.find(token)) replaced.push_back({token, *logit});
  }
  // A token that occurs twice was recorded twice with the same value, and is penalised to the same value twice.
  for (auto r = replaced.begin() + first; r != replaced.end(); ++r)
    *row.find(r->token) = r->value < 0 ? r->value * penalty : r->value / penalty;
}

// Calls body(token) for each token with which the target would end in a run of n tokens that `seen` has.
template <typename Body>
void for_each_repeat(std::span<const int32_t> target, std::span<const int32_t> seen, size_t n, Body body) {
  if (target.size() + 1 < n) return;
  const auto last = target.last(n - 1);
  for (size_t begin = 0; begin + n <= seen.size(); ++begin) {
    if (std::equal(last.begin(), last.end(), seen.begin() + static_cast<std::ptrdiff_t>(begin)))
      body(seen[begin + n - 1]);
  }
}

template <typename Body>
void for_each_own_repeat(const SequenceState& state, Body body) {
  for_each_repeat(state.ids, state.ids, static_cast<size_t>(state.config.no_repeat_ngram_size), body);
}

template <typename Body>
void for_each_copy(const SequenceState& state, Body body) {
  for_each_repeat(state.ids, state.source.ids, static_cast<size_t>(state.config.encoder_no_repeat_ngram_size), body);
}

// ... for each token that would complete a bad word. One that is an end token alone is none.
template <typename Body>
void for_each_bad_word(const SequenceState& state, Body body) {
  for (const Tokens& word : state.config.bad_words) {
    if (word.size() == 1 && state.config.is_eos(word.front())) continue;
    if (word.size() > state.ids.size() + 1) continue;
    const auto last = state.ids.last(word.size() - 1);
    if (std::equal(last.begin(), last.end(), word.begin())) body(word.back());
  }
}

std::span<const int32_t> too_early(const SequenceState& state) {
  if (state.n_generated >= state.config.min_new_tokens) return {};
  return state.config.eos_token_ids;
}

constexpr Processor kProcessors[] = {
    // logit_bias
    {[](const GenerationConfig& c) { return !c.logit_bias.empty(); },
     [](const SequenceState& state, Tokens& tokens) {
       for (const LogitBias& bias : state.config.logit_bias) tokens.push_back(bias.token);
     },
     [](const SequenceState& state, const LogitRow& row, Replaced& replaced) {
       for (const LogitBias& bias : state.config.logit_bias) {
         float* logit = row.find(bias.token);
         if (logit == nullptr) continue;
         replaced.push_back({bias.token, *logit});
         *logit += static_cast<float>(bias.bias);
       }
     }},
    // encoder_repetition_penalty: above 1 it makes the tokens of the source likelier
    {[](const GenerationConfig& c) { return c.encoder_repetition_penalty != 1.0; },
     [](const SequenceState& state, Tokens& tokens) { add(tokens, state.source.distinct); },
     [](const SequenceState& state, const LogitRow& row, Replaced& replaced) {
       penalise(state.source.distinct, 1.0 / state.config.encoder_repetition_penalty, row, replaced);
     }},
    // repetition_penalty
    {[](const GenerationConfig& c) { return c.repetition_penalty != 1.0; },
     [](const SequenceState& state, Tokens& tokens) { add(tokens, state.ids); },
     [](const SequenceState& state, const LogitRow& row, Replaced& replaced) {
       penalise(state.ids, state.config.repetition_penalty, row, replaced);
     }},
    // no_repeat_ngram_size
    {[](const GenerationConfig& c) { return c.no_repeat_ngram_size > 0; },
     [](const SequenceState& state, Tokens& tokens) {
       for_each_own_repeat(state, [&](int32_t token) { tokens.push_back(token); });
     },
     [](const SequenceState& state, const LogitRow& row, Replaced&) {
       for_each_own_repeat(state, [&](int32_t token) { ban(row, token); });
     }},
    // encoder_no_repeat_ngram_size
    {[](const GenerationConfig& c) { return c.encoder_no_repeat_ngram_size > 0; },
     [](const SequenceState& state, Tokens& tokens) {
       for_each_copy(state, [&](int32_t token) { tokens.push_back(token); });
     },
     [](const SequenceState& state, const LogitRow& row, Replaced&) {
       for_each_copy(state, [&](int32_t token) { ban(row, token); });
     }},
    // bad_words
    {[](const GenerationConfig& c) { return !c.bad_words.empty(); },
     [](const SequenceState& state, Tokens& tokens) {
       for_each_bad_word(state, [&](int32_t token) { tokens.push_back(token); });
     },
     [](const SequenceState& state, const LogitRow& row, Replaced&) {
       for_each_bad_word(state, [&](int32_t token) { ban(row, token); });
     }},
    // min_new_tokens
    {[](const GenerationConfig& c) { return c.min_new_tokens > 0; },
     [](const SequenceState& state, Tokens& tokens) { add(tokens, too_early(state)); },
     [](const SequenceState& state, const LogitRow& row, Replaced&) {
       for (const int32_t token : too_early(state)) ban(row, token);
     }},
    // forced_bos_token_id: certain, and what was said against it before does not count
    {[](const GenerationConfig& c) { return c.forced_bos_token_id.has_value(); },
     [](const SequenceState& state, Tokens& tokens) {
       if (const int32_t token = forced_token(state.config, state.ids); token >= 0) tokens.push_back(token);
     },
     [](const SequenceState& state, const LogitRow& row, Replaced& replaced) {
       const int32_t token = forced_token(state.config, state.ids);
       if (float* logit = token < 0 ? nullptr : row.find(token)) {
         replaced.push_back({token, *logit});
         *logit = 0;
       }
     }},
    // suppress_tokens
    {[](const GenerationConfig& c) { return !c.suppress_tokens.empty(); },
     [](const SequenceState& state, Tokens& tokens) { add(tokens, state.config.suppress_tokens); },
     [](const SequenceState& state, const LogitRow& row, Replaced&) {
       for (const int32_t token : state.config.suppress_tokens) ban(row, token);
     }},
};

}  // namespace

std::span<const Processor> processors() { return kProcessors; }

int32_t forced_token(const GenerationConfig& config, std::span<const int32_t> ids) {
  return ids.size() == 1 ? config.forced_bos_token_id.value_or(-1) : -1;
}

SourceTokens::SourceTokens(const GenerationConfig& config, std::span<const int32_t> source_ids) {
  if (config.encoder_repetition_penalty == 1.0 && config.encoder_no_repeat_ngram_size == 0) return;
  ids.assign(source_ids.begin(), source_ids.end());
  distinct = ids;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
}

float* LogitRow::find(int32_t token) const {
  if (!is_sparse_) return token >= 0 && token < std::ssize(values_) ? &values_[static_cast<size_t>(token)] : nullptr;
  const auto place = std::lower_bound(ids_.begin(), ids_.end(), token);
  if (place != ids_.end() && *place == token) return &values_[static_cast<size_t>(place - ids_.begin())];
  if (is_all_) return nullptr;
  throw Error("a logits processor changes token " + std::to_string(token) + ", which it did not say it touches.");
}

}  // namespace t5g::sampling
