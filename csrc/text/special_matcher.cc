// A sorted list does the work of a trie: one binary search per byte, and only where a text begins like some piece.
#include "text/special_matcher.h"

#include <algorithm>

namespace t5g {
namespace {

bool is_special(PieceType type) {
  return type == PieceType::kUserDefined || type == PieceType::kControl || type == PieceType::kUnknown;
}

}  // namespace

SpecialMatcher::SpecialMatcher(const PieceTable& table) : table_(table) {
  for (int32_t id = 0; id < table.size(); ++id) {
    if (is_special(table[id].type) && table.find(table.text(id)) == id) ids_.push_back(id);
  }
  std::sort(ids_.begin(), ids_.end(), [&](int32_t a, int32_t b) { return table.text(a) < table.text(b); });
  for (uint32_t i = 0; i < ids_.size(); ++i) {
    Range& range = by_first_byte_[static_cast<uint8_t>(table.text(ids_[i])[0])];
    if (range.end == 0) range.begin = i;
    range.end = i + 1;
  }
}

SpecialMatcher::Range SpecialMatcher::narrow(Range range, size_t depth, char byte) const {
  const auto byte_of = [&](int32_t id) { return static_cast<uint8_t>(table_.text(id)[depth]); };
  const auto begin = ids_.begin() + range.begin;
  const auto end = ids_.begin() + range.end;
  const auto wanted = static_cast<uint8_t>(byte);
  const auto first = std::partition_point(begin, end, [&](int32_t id) { return byte_of(id) < wanted; });
  const auto last = std::partition_point(first, end, [&](int32_t id) { return byte_of(id) == wanted; });
  return {static_cast<uint32_t>(first - ids_.begin()), static_cast<uint32_t>(last - ids_.begin())};
}

}  // namespace t5g
