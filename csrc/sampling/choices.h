// A constraint: the text is one of some texts. Their tokens form a trie; where a text is complete an end token may
// follow.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sampling/allowed_tokens.h"

namespace t5g {

class Choices final : public Constraint, public std::enable_shared_from_this<Choices> {
 public:
  // The ids of each text, without an end token. Throws InvalidArgument where there is none, or an empty one.
  explicit Choices(std::vector<std::vector<int32_t>> choices);

  std::unique_ptr<AllowedTokens> begin(const GenerationConfig& config, bool several) const override;

  // The choices that begin with some ids: of those from `first` on, `n` in the order of their ids.
  struct Range {
    size_t first, n;
  };
  Range narrow(Range range, size_t depth, int32_t id) const;
  Range all() const { return {0, sorted_.size()}; }
  // Ids at a depth of the choices in a range, ascending; and whether one of them ends there.
  bool next(Range range, size_t depth, std::vector<int32_t>& ids) const;

 private:
  std::vector<std::vector<int32_t>> sorted_;  // a trie: the choices below a node are neighbours
};

}  // namespace t5g
