// Byte-pair encoding as SentencePiece does it: join the best-scoring pair of neighbours until none makes a piece.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "text/merge_table.h"
#include "text/piece_table.h"

namespace t5g {

// The vocabulary's side of the algorithm; immutable, shared by threads.
class Bpe {
 public:
  // Keeps a reference to the table. merges: empty where any two pieces join that make one, the one of the best score
  // first. Throws ModelFormatError as MergeTable does.
  Bpe(const PieceTable& table, std::span<const std::string_view> merges, const std::string& where);

  // Buffers of encode(), reused from text to text.
  struct Workspace {
    struct Symbol {
      uint32_t begin;
      uint32_t size;
      int32_t previous;
      int32_t next;
      int32_t id;      // -1: not a piece (a character that the vocabulary lacks)
      int32_t joined;  // the piece that this and the next symbol make, or -1; -1 too once joined to the left
      uint32_t rank;   // when they are joined
    };
    std::vector<Symbol> symbols;
    // A heap of symbols to join with their next: the rank in the upper half, the symbol in the lower.
    std::vector<uint64_t> candidates;
  };

  // Splits valid UTF-8 of less than 2 GB into symbols: calls emit(text, id) from left to right, with id = -1 for a
  // character without a piece. Takes O(n log n).
  template <class Emit>
  void encode(std::string_view text, Workspace& workspace, Emit&& emit) const {
    size_t begin = 0;  // of the segment that has not been split yet
    size_t last = 0;   // its last character
    for (size_t i = 0; i < text.size();) {
      const size_t size = utf8_character_size(text.substr(i));
      if (i > begin && !may_join(text.substr(last, i - last), text.substr(i, size))) {
        split(text.substr(begin, i - begin), workspace, emit);
        begin = i;
      }
      last = i;
      i += size;
    }
    if (begin < text.size()) split(text.substr(begin), workspace, emit);
  }

 private:
  // Whether some piece has these neighbours inside it. Where none has, no joining ever crosses, and the text can be cut
  // there without changing the result: that keeps the segments, and with them the work, as short as words.
  // Each is one UTF-8 character.
  bool may_join(std::string_view left, std::string_view right) const {
    return joins_[end_class(left) * 256 + start_class(right)];
  }

  template <class Emit>
  void split(std::string_view segment, Workspace& workspace, Emit&& emit) const {
    join_all(segment, workspace);
    for (int32_t i = 0; i >= 0; i = workspace.symbols[static_cast<size_t>(i)].next) {
      const Workspace::Symbol& symbol = workspace.symbols[static_cast<size_t>(i)];
      emit(segment.substr(symbol.begin, symbol.size), symbol.id);
    }
  }

  void join_all(std::string_view segment, Workspace& workspace) const;
  bool find_joined(std::string_view segment, int32_t left, Workspace& workspace) const;
  static uint64_t candidate(int32_t left, const Workspace& workspace);
  int32_t find_mergeable(std::string_view text) const;

  // A character's class when it stands left or right of another: its last or first byte. U+2581, which begins most
  // words and hardly ever follows anything, has a class of its own, a byte that UTF-8 does not use.
  static size_t end_class(std::string_view left) {
    return left.ends_with(kSpaceMark) ? 0xFF : static_cast<uint8_t>(left.back());
  }
  static size_t start_class(std::string_view right) {
    return right.starts_with(kSpaceMark) ? 0xFF : static_cast<uint8_t>(right.front());
  }

  const PieceTable& table_;
  const MergeTable merges_;
  size_t longest_ = 0;          // bytes of the longest mergeable piece
  std::vector<uint8_t> joins_;  // 0 or 1
};

}  // namespace t5g
