// One row per option of GenerationConfig: its name, field, range and help. Range checks, Python's keyword arguments and
// the command line's flags are all read from here; defaults are those of the struct.
#pragma once

#include <array>
#include <limits>
#include <variant>

#include "sampling/generation_config.h"

namespace t5g::sampling {

using OptionField =
    std::variant<int32_t GenerationConfig::*, double GenerationConfig::*, std::optional<uint64_t> GenerationConfig::*,
                 EarlyStopping GenerationConfig::*, Draft GenerationConfig::*>;

struct Option {
  const char* name;
  OptionField field;
  // Numbers lie in [min, max], or in (min, max] where min_excluded. Not used for seed, early_stopping and draft, whose
  // types admit nothing wrong.
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
    Option{"repetition_penalty", &GenerationConfig::repetition_penalty, 0, kMaxReal, true,
           "above 1, tokens that the target already has become less likely; 1 = off"},
    Option{"no_repeat_ngram_size", &GenerationConfig::no_repeat_ngram_size, 0, kMaxInt, false,
           "no run of this many tokens occurs twice in the target; 0 = off"},
    Option{"num_beams", &GenerationConfig::num_beams, 1, kMaxBeams, false, "beams of the beam search; 1 = off"},
    Option{"length_penalty", &GenerationConfig::length_penalty, -kMaxReal, kMaxReal, false,
           "beam scores are divided by length to this power: above 0 favours long texts, below 0 short ones"},
    Option{
        "early_stopping", &GenerationConfig::early_stopping, 0, 0, false,
        "stop beam search when enough hypotheses are finished (true), a better one is unlikely (false) or impossible "
        "(never)"},
    Option{"num_return_sequences", &GenerationConfig::num_return_sequences, 1, kMaxSequences, false,
           "sequences to return: the best beams, or independent samples"},
    Option{
        "draft", &GenerationConfig::draft, 0, 0, false,
        "greedy: draft tokens from the source and the text so far and check several at a time (source), or not (off); "
        "the text is the same"},
};

}  // namespace t5g::sampling
