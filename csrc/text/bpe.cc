// Symbols in a linked list, candidate pairs in a heap; a pair that has changed since it was proposed is dropped when it
// surfaces.
#include "text/bpe.h"

#include <algorithm>

#include "base/utf8.h"

namespace t5g {
namespace {

using Candidate = Bpe::Workspace::Candidate;
using Symbol = Bpe::Workspace::Symbol;

// Order of the heap: the best score on top, and among equal ones the leftmost.
bool is_worse(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score < b.score : a.left > b.left;
}

// Control, unknown and byte pieces never come out of joining text, unused ones never come out at all, and user-defined
// ones are taken out of the text before.
bool is_mergeable(PieceType type) { return type == PieceType::kNormal; }

}  // namespace

Bpe::Bpe(const PieceTable& table) : table_(table), joins_(256 * 256) {
  for (int32_t id = 0; id < table.size(); ++id) {
    if (!is_mergeable(table[id].type)) continue;
    std::string_view rest = table.text(id);
    longest_ = std::max(longest_, rest.size());
    std::string_view left = rest.substr(0, utf8_character_size(rest));
    for (rest.remove_prefix(left.size()); !rest.empty(); rest.remove_prefix(left.size())) {
      const std::string_view right = rest.substr(0, utf8_character_size(rest));
      joins_[end_class(left) * 256 + start_class(right)] = true;
      left = right;
    }
  }
}

size_t Bpe::end_class(std::string_view character) {
  return character == kSpaceMark ? 0xFF : static_cast<uint8_t>(character.back());
}

size_t Bpe::start_class(std::string_view character) {
  return character == kSpaceMark ? 0xFF : static_cast<uint8_t>(character.front());
}

int32_t Bpe::find_mergeable(std::string_view text) const {
  const int32_t id = table_.find(text);
  return id >= 0 && is_mergeable(table_[id].type) ? id : -1;
}

void Bpe::propose(std::string_view segment, int32_t left, int32_t right, Workspace& workspace) const {
  if (left < 0 || right < 0) return;
  const Symbol& a = workspace.symbols[static_cast<size_t>(left)];
  const Symbol& b = workspace.symbols[static_cast<size_t>(right)];
  const uint32_t size = a.size + b.size;
  if (size > longest_) return;
  const int32_t id = find_mergeable(segment.substr(a.begin, size));
  if (id < 0) return;
  workspace.candidates.push_back({table_[id].score, left, size, id});
  std::push_heap(workspace.candidates.begin(), workspace.candidates.end(), is_worse);
}

void Bpe::join_all(std::string_view segment, Workspace& workspace) const {
  auto& symbols = workspace.symbols;
  auto& candidates = workspace.candidates;
  symbols.clear();
  candidates.clear();
  for (size_t begin = 0; begin < segment.size();) {
    const size_t size = utf8_character_size(segment.substr(begin));
    const auto i = static_cast<int32_t>(symbols.size());
    symbols.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(size), i - 1, i + 1,
                       find_mergeable(segment.substr(begin, size))});
    begin += size;
  }
  symbols.back().next = -1;
  for (int32_t i = 1; i < static_cast<int32_t>(symbols.size()); ++i) propose(segment, i - 1, i, workspace);

  while (!candidates.empty()) {
    std::pop_heap(candidates.begin(), candidates.end(), is_worse);
    const Candidate best = candidates.back();
    candidates.pop_back();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    if (left.size == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (left.size + right.size != best.size) continue;
    left.size = best.size;
    left.id = best.id;
    left.next = right.next;
    right.size = 0;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.left;
    propose(segment, left.previous, best.left, workspace);
    propose(segment, best.left, left.next, workspace);
  }
}

}  // namespace t5g
