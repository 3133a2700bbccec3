// The options of one generate call, under the names and with the meaning of Hugging Face's generate().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "sampling/allowed_tokens.h"

namespace t5g {

// When beam search may stop: as soon as num_beams hypotheses are finished (kWhenFull), when the best running beam is
// unlikely to beat them (kHeuristic), or when it cannot (kNever). Hugging Face spells them True, False and "never".
enum class EarlyStopping : uint8_t { kHeuristic, kWhenFull, kNever };

// Where drafts come from, tokens that greedy decoding checks several at a time: from the source and the text so far, or
// from nowhere. They never change a token.
enum class Draft : uint8_t { kOff, kSource };

// What is added to the logit of a token.
struct LogitBias {
  int32_t token;
  double bias;  // -infinity bans it
};

// Real numbers are doubles, as they are in Python, and rounded to float where they meet a logit.
struct GenerationConfig {
  int32_t max_new_tokens = 256;
  int32_t min_new_tokens = 0;
  std::optional<uint64_t> seed;  // none: a different one for every call
  double temperature = 0.0;      // 0: the most likely token, always
  int32_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double typical_p = 1.0;
  double epsilon_cutoff = 0.0;
  double eta_cutoff = 0.0;
  double repetition_penalty = 1.0;
  int32_t no_repeat_ngram_size = 0;
  double encoder_repetition_penalty = 1.0;
  int32_t encoder_no_repeat_ngram_size = 0;
  std::vector<LogitBias> logit_bias;
  std::vector<int32_t> suppress_tokens;         // never generated
  std::vector<std::vector<int32_t>> bad_words;  // runs of tokens that are never generated
  std::optional<int32_t> forced_bos_token_id;   // the first token, where there is no prefix
  std::vector<int32_t> eos_token_ids;           // each of them ends a sequence; none: those of the model
  int32_t num_beams = 1;
  double length_penalty = 1.0;
  EarlyStopping early_stopping = EarlyStopping::kHeuristic;
  int32_t num_return_sequences = 1;
  int32_t alternatives = 0;
  int32_t logprobs = 0;
  double timeout = 0.0;  // seconds; 0: none
  Draft draft = Draft::kSource;

  std::shared_ptr<const Constraint> constraint;  // or null

  // Throws InvalidArgument, naming the option, its range and the value found.
  void validate() const;

  bool is_eos(int32_t token_id) const;
  bool uses_beams() const { return num_beams > 1; }
  bool samples() const { return temperature > 0.0; }
  // Sequences of one source that are not beams.
  int32_t n_sequences() const { return alternatives > 0 ? alternatives : num_return_sequences; }
};

// The seed of the call: the one given, or one that the operating system draws. Ask once per call, so that the
// sequences of the call differ by their index alone.
uint64_t resolve_seed(const GenerationConfig& config);

}  // namespace t5g
