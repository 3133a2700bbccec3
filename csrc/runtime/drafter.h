// Guesses what a text says next from what it is about: where the last tokens occur in the source, or earlier in the
// text itself, what follows there may follow here. The decoder checks all guesses in one pass, so a wrong one costs a
// little time and never a token.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace t5g {

class Drafter {
 public:
  // Guesses for the tokens after `text`, at most `most`; often none. What is guessed and how much follows from how such
  // guesses have fared so far in this text.
  void guess(std::span<const int32_t> source, std::span<const int32_t> text, size_t most,
             std::vector<int32_t>& guesses);

  // How many of the last guesses, which were not none, were right.
  void learn(size_t n_right);

 private:
  // Tokens that agree before the place from which a guess was taken: one, two, three or more.
  static constexpr size_t kKinds = 3;
  struct Record {
    double right;      // right guesses at a time, a running mean
    int unused = 0;    // chances let pass since the last guess
    int patience = 1;  // chances to let pass while guesses of this kind do not pay
  };
  size_t how_many(Record& record) const;

  std::array<Record, kKinds> records_ = {{{0.5}, {1.5}, {3.0}}};
  size_t kind_ = 0;  // of the last guesses
  size_t n_guesses_ = 0;
};

}  // namespace t5g
