// Checks and stores the pieces, and finds them by a multiplicative hash with bounded probing.
#include "text/piece_table.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/utf8.h"

namespace t5g {
namespace {

constexpr size_t kMaxPieces = size_t{1} << 24;
constexpr size_t kMaxPieceBytes =
    4096;  // Gemma's longest has 93; bounds the work per character of hostile vocabularies
constexpr size_t kMaxTextBytes = size_t{1} << 28;  // Gemma: 2.2 MB; keeps offsets within 32 bits
// Half full and well mixed, runs of 50 are rare at 2^19 slots. A file built to collide ends here instead of hanging.
constexpr size_t kMaxProbes = 1024;
constexpr size_t kAhead = 16;

uint64_t mix(uint64_t h) {
  h *= 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
  return h ^ (h >> 32);
}

// Eight bytes a step; the length is mixed in, so that the zeros that fill the last step do not matter.
uint64_t hash(std::string_view text) {
  uint64_t h = text.size();
  while (text.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, text.data(), 8);
    h = mix(h ^ word);
    text.remove_prefix(8);
  }
  uint64_t rest = 0;
  for (const char c : text) rest = rest << 8 | static_cast<uint8_t>(c);
  return mix(mix(h ^ rest));
}

// Falls as the score rises: the bits of a positive float are ordered as its value is, those of a negative the other
// way.
uint32_t rank_of(float score) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0F);  // -0 becomes 0
  return bits >> 31 ? bits : 0x7FFFFFFF - bits;
}

[[noreturn]] void fail(const std::string& where, size_t id, const std::string& what) {
  throw ModelFormatError(where,
                         "piece " + std::to_string(id) + " " + what + ". The file is damaged: convert it again.");
}

}  // namespace

void append_with_space_marks(std::string_view text, std::string& out) {
  for (;;) {
    const size_t space = std::min(text.find(' '), text.size());
    out += text.substr(0, space);
    text.remove_prefix(space);
    if (text.empty()) return;
    out += kSpaceMark;
    text.remove_prefix(1);
  }
}

PieceTable::PieceTable(std::span<const std::string_view> pieces, std::span<const float> scores,
                       std::span<const int32_t> types, const AddedTokenList& added_tokens, const std::string& where) {
  if (pieces.empty() || pieces.size() > kMaxPieces) {
    throw ModelFormatError(where, "the vocabulary has " + std::to_string(pieces.size()) + " pieces, expected 1 to " +
                                      std::to_string(kMaxPieces) + ".");
  }
  if (scores.size() != pieces.size() || types.size() != pieces.size()) {
    throw ModelFormatError(where, "the vocabulary has " + std::to_string(pieces.size()) + " pieces, but " +
                                      std::to_string(scores.size()) + " scores and " + std::to_string(types.size()) +
                                      " types; the three must be equal.");
  }
  size_t text_size = 0;
  for (const std::string_view piece : pieces) text_size += piece.size();
  if (text_size > kMaxTextBytes) {
    throw ModelFormatError(where, "the pieces of the vocabulary have " + std::to_string(text_size) +
                                      " bytes, more than " + std::to_string(kMaxTextBytes) + ".");
  }
  text_.reserve(text_size);
  pieces_.reserve(pieces.size());
  for (size_t id = 0; id < pieces.size(); ++id) {
    add(pieces[id], scores[id], types[id], !added_tokens, where);
  }
  if (added_tokens) apply(*added_tokens, where);
  index(where);
}

void PieceTable::add(std::string_view text, float score, int32_t type, bool without_rules, const std::string& where) {
  const size_t id = pieces_.size();
  if (text.empty()) fail(where, id, "is empty");
  if (text.size() > kMaxPieceBytes) {
    fail(where, id, "has " + std::to_string(text.size()) + " bytes, more than " + std::to_string(kMaxPieceBytes));
  }
  if (!is_utf8(text)) fail(where, id, "is not UTF-8");
  if (!std::isfinite(score)) fail(where, id, "has a score that is not a finite number");
  if (type < static_cast<int32_t>(PieceType::kNormal) || type > static_cast<int32_t>(PieceType::kByte)) {
    fail(where, id, "has the type " + std::to_string(type) + ", expected 1 to 6");
  }
  const auto begin = static_cast<uint32_t>(text_.size());
  const auto kind = static_cast<PieceType>(type);
  // Some GGUF converters write the spaces of user-defined pieces (Gemma's runs of spaces) as spaces, those of all
  // others as U+2581. Without rules for them, text is matched with U+2581.
  if (without_rules && kind == PieceType::kUserDefined) {
    append_with_space_marks(text, text_);
  } else {
    text_ += text;
  }
  // Control, unknown and byte pieces never come out of joining text, unused ones never come out at all, and
  // user-defined ones are taken out of the text before.
  pieces_.push_back(
      {begin, static_cast<uint32_t>(text_.size()) - begin, rank_of(score), kind, kind == PieceType::kNormal});
}

void PieceTable::apply(std::span<const AddedToken> added_tokens, const std::string& where) {
  for (const AddedToken& token : added_tokens) {
    if (token.id < 0 || token.id >= size() || token.flags > kAllAddedTokenFlags) {
      throw ModelFormatError(
          where, "added token " + std::to_string(token.id) + " has the flags " + std::to_string(token.flags) +
                     ", expected an id from 0 to " + std::to_string(size() - 1) + " and flags from 0 to " +
                     std::to_string(kAllAddedTokenFlags) + ". The file is damaged: convert it again.");
    }
    pieces_[static_cast<size_t>(token.id)].mergeable = token.has(AddedTokenFlag::kMergeable);
  }
}

void PieceTable::index(const std::string& where) {
  slots_.resize(std::bit_ceil(2 * pieces_.size()));
  const size_t mask = slots_.size() - 1;
  std::array<uint64_t, kAhead> hashes;  // of the pieces that come next: a slot is hardly ever in a cache
  const auto look_ahead = [&](int32_t id) {
    if (id >= size()) return;
    const uint64_t h = hashes[static_cast<size_t>(id) % kAhead] = hash(text(id));
    __builtin_prefetch(&slots_[h & mask], 1);
  };
  for (int32_t id = 0; id < static_cast<int32_t>(kAhead); ++id) look_ahead(id);
  for (int32_t id = 0; id < size(); ++id) {
    const uint64_t h = hashes[static_cast<size_t>(id) % kAhead];
    look_ahead(id + static_cast<int32_t>(kAhead));
    const auto tag = static_cast<uint32_t>(h >> 32);
    size_t at = h & mask;
    size_t probes = 0;
    while (slots_[at].id >= 0 && !(slots_[at].tag == tag && text(slots_[at].id) == text(id))) {
      if (++probes > kMaxProbes) throw ModelFormatError(where, "the pieces of the vocabulary are made to collide.");
      at = (at + 1) & mask;
    }
    if (slots_[at].id < 0) slots_[at] = {tag, id};
  }
}

int32_t PieceTable::find(std::string_view text) const {
  const uint64_t h = hash(text);
  const auto tag = static_cast<uint32_t>(h >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t at = h & mask; slots_[at].id >= 0; at = (at + 1) & mask) {
    if (slots_[at].tag == tag && this->text(slots_[at].id) == text) return slots_[at].id;
  }
  return -1;
}

}  // namespace t5g
