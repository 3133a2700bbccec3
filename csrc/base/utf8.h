// UTF-8, as strictly as the standard has it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace t5g {

// U+FFFD, which stands for bytes that are not UTF-8.
inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

// Bytes of the well-formed character at the start of `text`; 0 where there is none.
size_t utf8_character_size(std::string_view text);

bool is_utf8(std::string_view text);

// The same as utf8_character_size where the text is known to be well-formed and not empty.
inline size_t known_utf8_character_size(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  return first < 0x80 ? 1 : static_cast<size_t>(std::countl_one(first));
}

}  // namespace t5g
