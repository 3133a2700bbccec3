// Prompt-lookup speculative decoding: drafts the next tokens of a text from what it is about. Where the last tokens
// occur in the source, or earlier in the text itself, what follows there may follow here. The decoder checks the whole
// draft in one pass, so a wrong token of it costs a little time and never one of the text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace t5g {

class Drafter {
 public:
  // A draft of the tokens after `text`, at most `most` of them; often none. What is drafted and how much follows from
  // how such drafts have fared so far in this text.
  void draft(std::span<const int32_t> source, std::span<const int32_t> text, size_t most,
             std::vector<int32_t>& drafted);

  // How many of the last draft's tokens, which were not none, were right.
  void learn(size_t n_right);

 private:
  // Tokens that agree before the place from which a draft was taken: one, two, three or more.
  static constexpr size_t kKinds = 3;
  struct Record {
    double right;      // right tokens at a time, a running mean
    int unused = 0;    // chances let pass since the last draft
    int patience = 1;  // chances to let pass while drafts of this kind do not pay
  };
  size_t how_many(Record& record) const;

  std::array<Record, kKinds> records_ = {{{0.5}, {1.5}, {3.0}}};
  size_t kind_ = 0;  // of the last draft
  size_t n_drafted_ = 0;
};

}  // namespace t5g
