// Symbols in a linked list, candidate pairs in a heap; a pair that has changed since it was proposed is dropped when it
// surfaces.
#include "text/bpe.h"

#include <algorithm>
#include <functional>

namespace t5g {

Bpe::Bpe(const PieceTable& table, std::span<const std::string_view> merges, const std::string& where)
    : table_(table), merges_(table, merges, where), joins_(256 * 256) {
  for (int32_t id = 0; id < table.size(); ++id) {
    if (!table[id].mergeable) continue;
    const std::string_view text = table.text(id);
    longest_ = std::max(longest_, text.size());
    for (size_t i = 1; i < text.size(); ++i) {
      if (!is_utf8_continuation(text[i])) joins_[end_class(text.substr(0, i)) * 256 + start_class(text.substr(i))] = 1;
    }
  }
}

int32_t Bpe::find_mergeable(std::string_view text) const {
  const int32_t id = table_.find(text);
  return id >= 0 && table_[id].mergeable ? id : -1;
}

// Looks up what a symbol and its next make; false when it is no piece.
bool Bpe::find_joined(std::string_view segment, int32_t left, Workspace& workspace) const {
  auto& symbol = workspace.symbols[static_cast<size_t>(left)];
  symbol.joined = -1;
  if (symbol.next < 0) return false;
  const auto& next = workspace.symbols[static_cast<size_t>(symbol.next)];
  if (!merges_.is_empty()) {
    if (const MergeTable::Merge* merge = merges_.find(symbol.id, next.id)) {
      symbol.joined = merge->id;
      symbol.rank = merge->rank;
    }
    return symbol.joined >= 0;
  }
  const uint32_t size = symbol.size + next.size;
  if (size <= longest_) symbol.joined = find_mergeable(segment.substr(symbol.begin, size));
  if (symbol.joined < 0) return false;
  symbol.rank = table_[symbol.joined].rank;
  return true;
}

// Smaller is better: the best rank first, and among equal ones the leftmost.
uint64_t Bpe::candidate(int32_t left, const Workspace& workspace) {
  return uint64_t{workspace.symbols[static_cast<size_t>(left)].rank} << 32 | static_cast<uint32_t>(left);
}

void Bpe::join_all(std::string_view segment, Workspace& workspace) const {
  auto& symbols = workspace.symbols;
  auto& heap = workspace.candidates;
  symbols.clear();
  heap.clear();
  for (size_t begin = 0; begin < segment.size();) {
    const size_t size = utf8_character_size(segment.substr(begin));
    const auto i = static_cast<int32_t>(symbols.size());
    const int32_t id = find_mergeable(segment.substr(begin, size));
    symbols.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(size), i - 1, i + 1, id, -1, 0});
    begin += size;
  }
  symbols.back().next = -1;
  for (int32_t i = 0; i + 1 < static_cast<int32_t>(symbols.size()); ++i) {
    if (find_joined(segment, i, workspace)) heap.push_back(candidate(i, workspace));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater{});

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater{});
    const uint64_t best = heap.back();
    heap.pop_back();
    const auto i = static_cast<int32_t>(best & 0xFFFFFFFF);
    auto& left = symbols[static_cast<size_t>(i)];
    // One of the two has changed since. (An equal candidate stands for whatever they make now.)
    if (left.joined < 0 || candidate(i, workspace) != best) continue;
    auto& right = symbols[static_cast<size_t>(left.next)];
    left.size += right.size;
    left.id = left.joined;
    left.next = right.next;
    right.joined = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = i;
    for (const int32_t changed : {left.previous, i}) {
      if (changed < 0 || !find_joined(segment, changed, workspace)) continue;
      heap.push_back(candidate(changed, workspace));
      std::push_heap(heap.begin(), heap.end(), std::greater{});
    }
  }
}

}  // namespace t5g
