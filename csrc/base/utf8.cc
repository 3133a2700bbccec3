// Well-formedness by the table of the Unicode standard (3.9, D92): the first byte fixes the size and the range of the
// second.
#include "base/utf8.h"

#include <cstdint>

namespace t5g {
namespace {

uint8_t byte_at(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

// The smallest and largest second byte after this first one: overlong forms, surrogates and too large values fall
// outside.
bool is_second_byte(uint8_t first, uint8_t second) {
  switch (first) {
    case 0xE0:
      return second >= 0xA0 && second <= 0xBF;
    case 0xED:
      return second >= 0x80 && second <= 0x9F;
    case 0xF0:
      return second >= 0x90 && second <= 0xBF;
    case 0xF4:
      return second >= 0x80 && second <= 0x8F;
    default:
      return is_utf8_continuation(static_cast<char>(second));
  }
}

// Bytes of a character that begins with this byte; 0 where none does.
size_t size_by_first_byte(uint8_t first) {
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;
  if (first < 0xE0) return 2;
  if (first < 0xF0) return 3;
  return first < 0xF5 ? 4 : 0;
}

}  // namespace

size_t utf8_character_size(std::string_view text) {
  if (text.empty()) return 0;
  const size_t size = size_by_first_byte(byte_at(text, 0));
  if (size <= 1) return size;
  if (size > text.size() || !is_second_byte(byte_at(text, 0), byte_at(text, 1))) return 0;
  for (size_t i = 2; i < size; ++i) {
    if (!is_utf8_continuation(text[i])) return 0;
  }
  return size;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    if (byte_at(text, 0) < 0x80) {  // most of most texts
      text.remove_prefix(1);
      continue;
    }
    const size_t size = utf8_character_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

}  // namespace t5g
