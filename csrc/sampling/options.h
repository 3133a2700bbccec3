// One row per option of GenerationConfig: its name, field, range and help. Range checks, Python's keyword arguments and
// the command line's flags are all read from here; defaults are those of the struct.
#pragma once

#include <array>
#include <limits>
#include <optional>
#include <variant>
#include <vector>

#include "sampling/generation_config.h"

namespace t5g::sampling {

using OptionField =
    std::variant<int32_t GenerationConfig::*, double GenerationConfig::*, std::optional<uint64_t> GenerationConfig::*,
                 EarlyStopping GenerationConfig::*, Draft GenerationConfig::*,
                 std::optional<int32_t> GenerationConfig::*, std::vector<int32_t> GenerationConfig::*,
                 std::vector<std::vector<int32_t>> GenerationConfig::*, std::vector<LogitBias> GenerationConfig::*>;

struct Option {
  const char* name;
  OptionField field;
  // Numbers lie in [min, max], or in (min, max] where min_excluded. Not used for other types.
  double min;
  double max;
  bool min_excluded;
  const char* help;
};

inline constexpr double kMaxInt = std::numeric_limits<int32_t>::max();
inline constexpr double kMaxReal = std::numeric_limits<float>::max();
// Candidates of a beam step grow with the square of the beams; more than this is a mistake rather than a search.
inline constexpr double kMaxBeams = 256;
// All of them are in memory at once.
inline constexpr double kMaxSequences = 1024;
// Of every token, and with the text in memory.
inline constexpr double kMaxLogprobs = 1024;

inline constexpr std::array kOptions = {
    Option{"max_new_tokens", &GenerationConfig::max_new_tokens, 1, kMaxInt, false, "tokens to generate at most"},
    Option{"min_new_tokens", &GenerationConfig::min_new_tokens, 0, kMaxInt, false,
           "tokens to generate before the text may end"},
    Option{"seed", &GenerationConfig::seed, 0, 0, false,
           "seed of the random numbers; the same seed gives the same text"},
    Option{"temperature", &GenerationConfig::temperature, 0, kMaxReal, false,
           "spread of the sampling; 0 = always the most likely token"},
    Option{"top_k", &GenerationConfig::top_k, 0, kMaxInt, false, "sample from the k most likely tokens; 0 = from all"},
    Option{"top_p", &GenerationConfig::top_p, 0, 1, false,
           "sample from the fewest tokens whose probabilities add up to p; 1 = from all"},
    Option{"min_p", &GenerationConfig::min_p, 0, 1, false,
           "drop tokens less likely than this share of the most likely one; 0 = none"},
    Option{
        "typical_p", &GenerationConfig::typical_p, 0, 1, true,
        "sample from the tokens whose surprise is closest to the expected one, until their probabilities add up to p; "
        "1 = from all"},
    Option{"epsilon_cutoff", &GenerationConfig::epsilon_cutoff, 0, 1, false,
           "drop tokens less likely than this; 0 = none"},
    Option{"eta_cutoff", &GenerationConfig::eta_cutoff, 0, 1, false,
           "drop tokens less likely than this, or than less where the model is unsure; 0 = none"},
    Option{"repetition_penalty", &GenerationConfig::repetition_penalty, 0, kMaxReal, true,
           "above 1, tokens that the target already has become less likely; 1 = off"},
    Option{"no_repeat_ngram_size", &GenerationConfig::no_repeat_ngram_size, 0, kMaxInt, false,
           "no run of this many tokens occurs twice in the target; 0 = off"},
    Option{"encoder_repetition_penalty", &GenerationConfig::encoder_repetition_penalty, 0, kMaxReal, true,
           "above 1, tokens that the source has become more likely; 1 = off"},
    Option{"encoder_no_repeat_ngram_size", &GenerationConfig::encoder_no_repeat_ngram_size, 0, kMaxInt, false,
           "no run of this many tokens of the source occurs in the target; 0 = off"},
    Option{"logit_bias", &GenerationConfig::logit_bias, 0, 0, false, "added to the logits of these tokens: {id: bias}"},
    Option{"suppress_tokens", &GenerationConfig::suppress_tokens, 0, 0, false, "ids of tokens never to generate"},
    Option{"bad_words", &GenerationConfig::bad_words, 0, 0, false,
           "runs of tokens never to generate: texts, or lists of ids"},
    Option{"forced_bos_token_id", &GenerationConfig::forced_bos_token_id, 0, 0, false,
           "id of the first token to generate, where there is no decoder prefix"},
    Option{"eos_token_ids", &GenerationConfig::eos_token_ids, 0, 0, false,
           "ids that end a text, instead of the model's"},
    Option{"num_beams", &GenerationConfig::num_beams, 1, kMaxBeams, false, "beams of the beam search; 1 = off"},
    Option{"length_penalty", &GenerationConfig::length_penalty, -kMaxReal, kMaxReal, false,
           "beam scores are divided by length to this power: above 0 favours long texts, below 0 short ones"},
    Option{
        "early_stopping", &GenerationConfig::early_stopping, 0, 0, false,
        "stop beam search when enough hypotheses are finished (true), a better one is unlikely (false) or impossible "
        "(never)"},
    Option{"num_return_sequences", &GenerationConfig::num_return_sequences, 1, kMaxSequences, false,
           "sequences to return: the best beams, or independent samples"},
    Option{"alternatives", &GenerationConfig::alternatives, 0, kMaxSequences, false,
           "greedy: this many texts, which begin with the likeliest first tokens; 0 = off"},
    Option{"logprobs", &GenerationConfig::logprobs, 0, kMaxLogprobs, false,
           "of every token, find this many of the likeliest tokens and their log-probabilities"},
    Option{"timeout", &GenerationConfig::timeout, 0, kMaxReal, false,
           "seconds after which the text ends as it is; 0 = none"},
    Option{
        "draft", &GenerationConfig::draft, 0, 0, false,
        "greedy: draft tokens from the source and the text so far and check several at a time (source), or not (off); "
        "the text is the same"},
};

}  // namespace t5g::sampling
