// Finds the tokens that are taken out of a text before BPE sees it, by the rules of Hugging Face's added tokens.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "text/characters.h"
#include "text/piece_table.h"

namespace t5g {

class AddedTokens {
 public:
  // Refers to the table. Without `tokens`, as in files that know no rules for them, user-defined, control
  // and unknown pieces are matched wherever they stand once spaces are U+2581.
  AddedTokens(const PieceTable& table, const AddedTokenList& tokens);

  // Cuts valid UTF-8 at the tokens that are matched in the text as it is, or in the text whose spaces are U+2581: calls
  // on_text(view) and on_token(id, view) from left to right, the latter's view with the white space that goes with the
  // token. accept(id) says which tokens count.
  template <class Accept, class OnText, class OnToken>
  void cut_raw(std::string_view text, Accept&& accept, OnText&& on_text, OnToken&& on_token) const {
    cut(raw_, text, accept, on_text, on_token);
  }
  template <class Accept, class OnText, class OnToken>
  void cut_normalized(std::string_view text, Accept&& accept, OnText&& on_text, OnToken&& on_token) const {
    cut(normalized_, text, accept, on_text, on_token);
  }

 private:
  // Tokens by their bytes. A sorted list does the work of a trie.
  class Index {
   public:
    struct Entry {
      AddedToken token;
      std::string_view text;  // that it is matched as
    };

    // respell_spaces: match their spaces as U+2581.
    Index(const PieceTable& table, const std::vector<AddedToken>& tokens, bool respell_spaces);

    bool is_empty() const { return entries_.empty(); }

    // The longest token at the start of `text` that accept(id) allows, or null.
    template <class Accept>
    const Entry* longest(std::string_view text, Accept&& accept) const {
      const Entry* found = nullptr;
      Range range = by_first_byte_[static_cast<uint8_t>(text[0])];
      for (size_t depth = 1; range.begin < range.end; ++depth) {
        // Sorted, so the token that ends here, if there is one, comes before all that go on.
        const Entry& entry = entries_[range.begin];
        if (entry.text.size() == depth) {
          if (accept(entry.token.id)) found = &entry;
          ++range.begin;
        }
        if (depth == text.size()) break;
        range = narrow(range, depth, text[depth]);
      }
      return found;
    }

   private:
    // A range of entries_ that begin with the same bytes.
    struct Range {
      uint32_t begin = 0;
      uint32_t end = 0;
    };

    // The part of a range of tokens, all longer than `depth` bytes, that has `byte` there.
    Range narrow(Range range, size_t depth, char byte) const;

    std::deque<std::string> respelled_;  // texts that are not the table's
    std::vector<Entry> entries_;
    std::array<Range, 256> by_first_byte_;
  };

  template <class Accept, class OnText, class OnToken>
  void cut(const Index& index, std::string_view text, Accept&& accept, OnText&& on_text, OnToken&& on_token) const {
    size_t done = 0;
    for (size_t i = index.is_empty() ? text.size() : 0; i < text.size();) {
      // By the rules, the longest token hides all others, also where it does not count itself.
      const Index::Entry* entry = index.longest(text.substr(i), [&](int32_t id) { return has_rules_ || accept(id); });
      if (entry == nullptr) {
        ++i;
        continue;
      }
      const AddedToken& token = entry->token;
      size_t begin = i;
      size_t end = i += entry->text.size();
      if (!accept(token.id)) continue;
      if (token.has(AddedTokenFlag::kSingleWord) &&
          (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
        continue;
      }
      if (token.has(AddedTokenFlag::kStripLeft)) {
        begin = std::max(done, begin - trailing_white_space(text.substr(0, begin)));
      }
      // What is stripped on the right can still hold tokens, which then stand beside this one: the same happens there,
      // and a token that strips on the left finds nothing left of itself.
      if (token.has(AddedTokenFlag::kStripRight)) end += leading_white_space(text.substr(end));
      if (done < begin) on_text(text.substr(done, begin - done));
      if (begin < end) on_token(token.id, text.substr(begin, end - begin));
      done = end;
    }
    if (done < text.size()) on_text(text.substr(done));
  }

  const bool has_rules_;
  const Index raw_;
  const Index normalized_;
};

}  // namespace t5g
