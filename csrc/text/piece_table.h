// All pieces of a vocabulary in one block of text and one flat hash table: 262,144 of them are ready in a few
// milliseconds.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace t5g {

// U+2581, as which SentencePiece writes a space.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

// The text with U+2581 for its spaces, appended to `out`.
void append_with_space_marks(std::string_view text, std::string& out);

// Numbered as in GGUF files.
enum class PieceType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// Bits, numbered as in GGUF files of t5g. The first four are fields of Hugging Face's added tokens.
enum class AddedTokenFlag : uint32_t {
  kStripLeft = 1,   // lstrip: takes the white space before it along
  kStripRight = 2,  // rstrip: ... after it
  kSingleWord = 4,  // single_word: not where a letter or digit stands beside it
  kNormalized = 8,  // normalized: matched where spaces are U+2581, after all tokens that are not
  kMergeable = 16,  // BPE can make it as well
};
inline constexpr uint32_t kAllAddedTokenFlags = 31;

// A token that is taken out of the text before BPE sees it, and how.
struct AddedToken {
  int32_t id;
  uint32_t flags;

  bool has(AddedTokenFlag flag) const { return (flags & static_cast<uint32_t>(flag)) != 0; }
};

// All of a vocabulary; nothing where the file has no rules for them.
using AddedTokenList = std::optional<std::span<const AddedToken>>;

class PieceTable {
 public:
  // One per id.
  struct Piece {
    uint32_t begin;
    uint32_t size;
    uint32_t rank;  // orders merges, lower first, as the scores do, higher first
    PieceType type;
    bool mergeable;  // comes out of BPE
  };

  // Copies the pieces, which must be as many as the scores and types. Added tokens that come with rules are spelled as
  // they stand in a text, all other pieces with U+2581 for spaces. Throws ModelFormatError, beginning with `where`, for
  // anything that no vocabulary has: empty or endless pieces, text that is not UTF-8, unknown types, odd scores, rules
  // for tokens that are not there.
  PieceTable(std::span<const std::string_view> pieces, std::span<const float> scores, std::span<const int32_t> types,
             const AddedTokenList& added_tokens, const std::string& where);

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

  void add(std::string_view text, float score, int32_t type, bool without_rules, const std::string& where);
  void apply(std::span<const AddedToken> added_tokens, const std::string& where);
  void index(const std::string& where);

  std::string text_;
  std::vector<Piece> pieces_;
  std::vector<Slot> slots_;  // open addressing, linear probing, at most half full
};

}  // namespace t5g
