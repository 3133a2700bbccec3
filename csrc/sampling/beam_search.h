// Beam search over the target of one source: pure book-keeping, fed with what it asks about rows of logits. It makes
// the choices of Hugging Face's vectorised beam search, in the same float arithmetic.
//
//   BeamSearch search(config, prompt_ids);
//   while (!search.done()) {
//     search.ask(i, ...) for each of search.beams();   // then run them and answer
//     search.advance(answers);                         // beams() then says what to run next
//   }
//   search.finalize();
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ops/selection.h"
#include "sampling/allowed_tokens.h"
#include "sampling/generation_config.h"
#include "sampling/logits_processors.h"

namespace t5g {

// What was found out about one token.
struct TokenScore {
  float logprob;                 // the model's own log-probability
  std::vector<ScoredToken> top;  // the likeliest tokens with theirs, where they are asked for
};

// A sequence that is still growing.
struct Beam {
  int32_t parent;                       // the beam of the step before that it continues: whose KV cache it needs
  int32_t token;                        // its newest token: the input of the next decode step
  float score;                          // sum of log-probabilities after processors: what beams compete by
  double logprob;                       // sum of the model's own log-probabilities
  std::vector<int32_t> ids;             // prompt and generated tokens
  std::vector<TokenScore> scores = {};  // of the generated ones
};

struct Hypothesis {
  float score;                         // beam score / generated length ^ length_penalty
  double logprob;                      // sum of the model's own log-probabilities
  bool finished;                       // false where the search was broken off before it ended
  std::vector<int32_t> generated_ids;  // without the prompt, with the token that ended it
  std::vector<TokenScore> scores;      // of these
};

// Whether a text that has just grown by one token ends here, for stop strings. generated: the ids after the prompt.
using StopTest = std::function<bool(std::span<const int32_t> generated)>;

class BeamSearch {
 public:
  // prompt_ids: start token and prefix, at least one.
  BeamSearch(const GenerationConfig& config, std::span<const int32_t> prompt_ids,
             std::span<const int32_t> source_ids = {}, StopTest stop_test = nullptr);

  // The growing sequences, best first: at first one, the prompt (parent 0, its last token), then num_beams, or fewer
  // where bans leave no more.
  const std::vector<Beam>& beams() const { return beams_; }

  // Puts the question about what follows a beam. What `allowed` has must stay until advance().
  void ask(size_t beam, const Allowed& allowed, Selection& selection) const;
  // The ids of a beam after the prompt.
  std::span<const int32_t> generated(const Beam& beam) const;
  // Continues every beam. answers: one for each, changed in place. Not to be called once done(). Throws Error when
  // every token of every beam is banned and nothing is finished.
  void advance(std::span<Selection> answers);

  bool done() const { return done_; }

  // The num_return_sequences best, best first; fewer where bans left no more. May be called before done(), when a
  // caller breaks the search off: growing sequences then follow the finished ones.
  std::vector<Hypothesis> finalize() const;

 private:
  struct Candidate {
    float score;
    float logprob;  // of the token
    int32_t beam;
    int32_t token;
  };

  std::vector<Candidate> best_candidates(std::span<Selection> answers);
  void rank(const Beam& beam, Selection& answer);
  Beam extend(const Candidate& candidate, std::span<const Selection> answers) const;
  bool ends(const Beam& beam) const;
  Hypothesis hypothesis(const Beam& beam, bool finished) const;
  void finish(const Beam& beam);
  float penalized(float score, size_t length) const;
  bool can_improve() const;

  GenerationConfig config_;
  size_t prompt_length_;
  size_t n_candidates_;
  sampling::LogitsProcessors processors_;
  StopTest stop_test_;
  bool done_ = false;
  std::vector<Beam> beams_;
  std::vector<Hypothesis> finished_;  // best first, at most num_beams
  std::vector<ScoredToken> top_;      // the best continuations of one beam
};

}  // namespace t5g
