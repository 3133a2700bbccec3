// The pairs that BPE joins and the order in which it does, where the pieces' scores do not tell.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/piece_table.h"

namespace t5g {

class MergeTable {
 public:
  struct Merge {
    uint32_t rank;  // lower first
    int32_t id;     // of what the two make
  };

  // merges: "LEFT RIGHT" each, the first joins first. Throws ModelFormatError, beginning with `where`, for pairs of
  // which a piece is missing.
  MergeTable(const PieceTable& table, std::span<const std::string_view> merges, const std::string& where);

  bool is_empty() const { return slots_.empty(); }

  // What two neighbours make, or null. An id of -1 makes nothing.
  const Merge* find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t pair = kNone;
    Merge merge{};
  };
  static constexpr uint64_t kNone = ~uint64_t{0};

  static uint64_t key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  size_t first_slot(uint64_t pair) const;

  std::vector<Slot> slots_;  // open addressing, linear probing, at most half full
};

}  // namespace t5g
