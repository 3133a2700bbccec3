// Finds the pieces that are taken out of a text before BPE sees it: the user-defined ones, and markers on request.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/piece_table.h"

namespace t5g {

class SpecialMatcher {
 public:
  // Keeps a reference to the table.
  explicit SpecialMatcher(const PieceTable& table);

  // The id of the longest piece at the start of `text` that accept(id) allows, or -1.
  template <class Accept>
  int32_t match(std::string_view text, Accept&& accept) const {
    if (text.empty()) return -1;
    int32_t longest = -1;
    Range range = by_first_byte_[static_cast<uint8_t>(text[0])];
    for (size_t depth = 1; range.begin < range.end; ++depth) {
      // Sorted, so the piece that ends here, if there is one, comes before all that go on.
      const int32_t id = ids_[range.begin];
      if (table_.text(id).size() == depth) {
        if (accept(id)) longest = id;
        ++range.begin;
      }
      if (depth == text.size()) break;
      range = narrow(range, depth, text[depth]);
    }
    return longest;
  }

 private:
  // A range of ids_ whose pieces begin with the same bytes.
  struct Range {
    uint32_t begin = 0;
    uint32_t end = 0;
  };

  // The part of a range of pieces, all longer than `depth` bytes, that has `byte` there.
  Range narrow(Range range, size_t depth, char byte) const;

  const PieceTable& table_;
  std::vector<int32_t> ids_;  // user-defined, control and unknown pieces by their bytes, each text once
  std::array<Range, 256> by_first_byte_;
};

}  // namespace t5g
