// One row of options.inc is one field on either side.
#include "capi/generate_options.h"

#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "capi/guard.h"
#include "sampling/options.h"

namespace t5g::capi {
namespace {

constexpr size_t kMaxItems = 1 << 20;  // of an array; the largest vocabulary has a quarter of that

constexpr size_t kRows = 0
#define T5G_OPTION(name) +1
#define T5G_OPTION_ARRAY(name) +1
#include "capi/options.inc"
#undef T5G_OPTION
#undef T5G_OPTION_ARRAY
    ;
static_assert(kRows == sampling::kOptions.size(), "t5g.h and options.inc lack a row of sampling/options.h");

// ---- From a config

template <class T>
void give(const T& from, T& to) {
  to = from;
}
void give(const std::optional<uint64_t>& from, uint64_t& to) { to = from.value_or(0); }
void give(const std::optional<int32_t>& from, int32_t& to) { to = from.value_or(-1); }
void give(EarlyStopping from, int32_t& to) { to = static_cast<int32_t>(from); }
void give(Draft from, int32_t& to) { to = static_cast<int32_t>(from); }

void give(const std::vector<int32_t>& from, OptionArrays&, const int32_t*& to, size_t& n) {
  to = from.data();
  n = from.size();
}
void give(const std::vector<LogitBias>& from, OptionArrays& arrays, const t5g_logit_bias*& to, size_t& n) {
  for (const LogitBias& one : from) arrays.logit_bias.push_back({one.token, one.bias});
  to = arrays.logit_bias.data();
  n = from.size();
}
void give(const std::vector<std::vector<int32_t>>& from, OptionArrays& arrays, const t5g_token_run*& to, size_t& n) {
  for (const std::vector<int32_t>& run : from) arrays.bad_words.push_back({run.data(), run.size()});
  to = arrays.bad_words.data();
  n = from.size();
}

// ---- To a config

template <class T>
void take(const char*, const T& from, T& to) {
  to = from;
}
void take(const char*, uint64_t from, std::optional<uint64_t>& to) { to = from; }
void take(const char* name, int32_t from, std::optional<int32_t>& to) {
  if (from < -1) fail(name, "must be a token id, or -1 for none, got " + std::to_string(from) + ".");
  if (from >= 0) to = from;
}
// A word of `last` and those before it.
template <class Word>
Word word(const char* name, int32_t value, Word last) {
  if (value >= 0 && value <= static_cast<int32_t>(last)) return static_cast<Word>(value);
  fail(name, "must be one of the constants of t5g.h, got " + std::to_string(value) + ".");
}
void take(const char* name, int32_t from, EarlyStopping& to) { to = word(name, from, EarlyStopping::kNever); }
void take(const char* name, int32_t from, Draft& to) { to = word(name, from, Draft::kSource); }

template <class T>
std::span<const T> items(const char* name, const T* from, size_t n) {
  if (n > kMaxItems) fail(name, "has " + std::to_string(n) + " items, more than there are tokens.");
  if (n > 0) required(from, name);
  return {from, n};
}
void take(const char* name, const int32_t* from, size_t n, std::vector<int32_t>& to) {
  const std::span<const int32_t> ids = items(name, from, n);
  to.assign(ids.begin(), ids.end());
}
void take(const char* name, const t5g_logit_bias* from, size_t n, std::vector<LogitBias>& to) {
  for (const t5g_logit_bias& one : items(name, from, n)) to.push_back({one.token_id, one.bias});
}
void take(const char* name, const t5g_token_run* from, size_t n, std::vector<std::vector<int32_t>>& to) {
  for (const t5g_token_run& run : items(name, from, n)) take(name, run.ids, run.n_ids, to.emplace_back());
}

}  // namespace

t5g_generate_options options_of(const GenerationConfig& config, OptionArrays& arrays) {
  t5g_generate_options options{};
#define T5G_OPTION(name) give(config.name, options.name);
#define T5G_OPTION_ARRAY(name) give(config.name, arrays, options.name, options.n_##name);
#include "capi/options.inc"
#undef T5G_OPTION
#undef T5G_OPTION_ARRAY
  options.has_seed = config.seed.has_value();
  return options;
}

GenerationConfig config_of(const t5g_generate_options& options) {
  GenerationConfig config;
#define T5G_OPTION(name) take(#name, options.name, config.name);
#define T5G_OPTION_ARRAY(name) take(#name, options.name, options.n_##name, config.name);
#include "capi/options.inc"
#undef T5G_OPTION
#undef T5G_OPTION_ARRAY
  if (options.has_seed == 0) config.seed.reset();
  return config;
}

std::vector<std::string> without_effect(const GenerationConfig& config) {
  const GenerationConfig usual;
  std::vector<std::string> lines;
  const auto add = [&](std::initializer_list<std::pair<const char*, bool>> asked, std::string_view reason) {
    std::string names;
    for (const auto& [name, is_asked] : asked) {
      if (is_asked) names += (names.empty() ? "" : ", ") + std::string(name);
    }
    if (!names.empty()) lines.push_back(names + ": without effect, as " + std::string(reason));
  };
  if (!config.samples()) {
    add({{"top_k", config.top_k != usual.top_k},
         {"top_p", config.top_p != usual.top_p},
         {"min_p", config.min_p != usual.min_p},
         {"typical_p", config.typical_p != usual.typical_p},
         {"epsilon_cutoff", config.epsilon_cutoff != usual.epsilon_cutoff},
         {"eta_cutoff", config.eta_cutoff != usual.eta_cutoff},
         {"seed", config.seed.has_value()}},
        config.uses_beams() ? "beam search does not sample." : "temperature is 0: the likeliest token is taken.");
  }
  if (!config.uses_beams()) {
    add({{"length_penalty", config.length_penalty != usual.length_penalty},
         {"early_stopping", config.early_stopping != usual.early_stopping}},
        "there is no beam search. Set num_beams above 1 to have it.");
  }
  return lines;
}

}  // namespace t5g::capi
