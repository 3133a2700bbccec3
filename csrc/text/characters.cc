// White space is few enough to list; parts of words are looked up in a table of ranges.
#include "text/characters.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

#include "base/utf8.h"

namespace t5g {
namespace {

struct Range {
  uint32_t first;
  uint32_t last;
};

// Unicode's White_Space.
constexpr std::array<Range, 10> kWhiteSpace = {{{0x9, 0xD},
                                                {0x20, 0x20},
                                                {0x85, 0x85},
                                                {0xA0, 0xA0},
                                                {0x1680, 0x1680},
                                                {0x2000, 0x200A},
                                                {0x2028, 0x2029},
                                                {0x202F, 0x202F},
                                                {0x205F, 0x205F},
                                                {0x3000, 0x3000}}};
constexpr Range kWord[] = {
#include "text/word_characters.inc"
};

template <class Ranges>
bool contains(const Ranges& ranges, uint32_t code_point) {
  const auto range =
      std::partition_point(std::begin(ranges), std::end(ranges), [&](const Range& r) { return r.last < code_point; });
  return range != std::end(ranges) && range->first <= code_point;
}

// Of one valid character.
uint32_t code_point(std::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  uint32_t value = character.size() == 1 ? first : first & (0x7Fu >> character.size());
  for (const char c : character.substr(1)) value = value << 6 | (static_cast<uint8_t>(c) & 0x3F);
  return value;
}

std::string_view first_character(std::string_view text) { return text.substr(0, utf8_character_size(text)); }

std::string_view last_character(std::string_view text) {
  size_t begin = text.size() - 1;
  while (is_utf8_continuation(text[begin])) --begin;
  return text.substr(begin);
}

}  // namespace

size_t leading_white_space(std::string_view text) {
  const size_t size = text.size();
  while (!text.empty() && contains(kWhiteSpace, code_point(first_character(text)))) {
    text.remove_prefix(first_character(text).size());
  }
  return size - text.size();
}

size_t trailing_white_space(std::string_view text) {
  const size_t size = text.size();
  while (!text.empty() && contains(kWhiteSpace, code_point(last_character(text)))) {
    text.remove_suffix(last_character(text).size());
  }
  return size - text.size();
}

bool starts_with_word(std::string_view text) {
  return !text.empty() && contains(kWord, code_point(first_character(text)));
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && contains(kWord, code_point(last_character(text)));
}

}  // namespace t5g
