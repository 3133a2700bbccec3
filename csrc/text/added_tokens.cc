// One binary search per byte, and only where a text begins like some token.
#include "text/added_tokens.h"

namespace t5g {
namespace {

bool is_matched_without_rules(PieceType type) {
  return type == PieceType::kUserDefined || type == PieceType::kControl || type == PieceType::kUnknown;
}

// The tokens of one stage.
std::vector<AddedToken> select(const PieceTable& table, const AddedTokenList& tokens, bool normalized) {
  std::vector<AddedToken> selected;
  if (tokens) {
    for (const AddedToken& token : *tokens) {
      if (token.has(AddedTokenFlag::kNormalized) == normalized) selected.push_back(token);
    }
  } else if (normalized) {
    for (int32_t id = 0; id < table.size(); ++id) {
      if (is_matched_without_rules(table[id].type)) selected.push_back({id, 0});
    }
  }
  return selected;
}

}  // namespace

AddedTokens::AddedTokens(const PieceTable& table, const AddedTokenList& tokens)
    : has_rules_(tokens.has_value()),
      raw_(table, select(table, tokens, false), false),
      normalized_(table, select(table, tokens, true), has_rules_) {}

AddedTokens::Index::Index(const PieceTable& table, const std::vector<AddedToken>& tokens, bool respell_spaces) {
  for (const AddedToken& token : tokens) {
    std::string_view text = table.text(token.id);
    if (table.find(text) != token.id) continue;
    if (respell_spaces && text.find(' ') != std::string_view::npos) {
      append_with_space_marks(text, respelled_.emplace_back());
      text = respelled_.back();
    }
    entries_.push_back({token, text});
  }
  const auto by_text = [](const Entry& a, const Entry& b) { return a.text < b.text; };
  std::stable_sort(entries_.begin(), entries_.end(), by_text);
  const auto same_text = [](const Entry& a, const Entry& b) { return a.text == b.text; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same_text), entries_.end());
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    Range& range = by_first_byte_[static_cast<uint8_t>(entries_[i].text[0])];
    if (range.end == 0) range.begin = i;
    range.end = i + 1;
  }
}

AddedTokens::Index::Range AddedTokens::Index::narrow(Range range, size_t depth, char byte) const {
  const auto byte_of = [&](const Entry& entry) { return static_cast<uint8_t>(entry.text[depth]); };
  const auto begin = entries_.begin() + range.begin;
  const auto end = entries_.begin() + range.end;
  const auto wanted = static_cast<uint8_t>(byte);
  const auto first = std::partition_point(begin, end, [&](const Entry& entry) { return byte_of(entry) < wanted; });
  const auto last = std::partition_point(first, end, [&](const Entry& entry) { return byte_of(entry) == wanted; });
  return {static_cast<uint32_t>(first - entries_.begin()), static_cast<uint32_t>(last - entries_.begin())};
}

}  // namespace t5g
