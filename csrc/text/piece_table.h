// All pieces of a vocabulary in one block of text and one flat hash table: 262,144 of them are ready in a few
// milliseconds.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace t5g {

// U+2581, as which SentencePiece writes a space.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

// Numbered as in GGUF files.
enum class PieceType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

class PieceTable {
 public:
  // One per id.
  struct Piece {
    uint32_t begin;
    uint32_t size;
    uint32_t rank;  // orders merges, lower first, as the scores do, higher first
    PieceType type;
  };

  // Copies the pieces, which must be as many as the scores and types. Throws ModelFormatError, beginning with `where`,
  // for anything that no vocabulary has: empty or endless pieces, text that is not UTF-8, unknown types, odd scores.
  PieceTable(std::span<const std::string_view> pieces, std::span<const float> scores, std::span<const int32_t> types,
             const std::string& where);

  int32_t size() const { return static_cast<int32_t>(pieces_.size()); }
  const Piece& operator[](int32_t id) const { return pieces_[static_cast<size_t>(id)]; }
  std::string_view text(int32_t id) const {
    const Piece& piece = (*this)[id];
    return {text_.data() + piece.begin, piece.size};
  }

  // The id of this very text, or -1. Of two pieces with one text, the lower id is found.
  int32_t find(std::string_view text) const;

 private:
  struct Slot {
    uint32_t tag = 0;  // more bits of the hash, so that almost every miss ends without looking at the piece
    int32_t id = -1;
  };

  void add(std::string_view text, float score, int32_t type, const std::string& where);
  void index(const std::string& where);

  std::string text_;
  std::vector<Piece> pieces_;
  std::vector<Slot> slots_;  // open addressing, linear probing, at most half full
};

}  // namespace t5g
