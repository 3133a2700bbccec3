// UTF-8, as strictly as the standard has it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace t5g {

// U+FFFD, which stands for bytes that are not UTF-8.
inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

// Bytes of the well-formed character at the start of `text`; 0 where there is none.
size_t utf8_character_size(std::string_view text);

bool is_utf8(std::string_view text);

// Whether a byte of well-formed text goes on with a character that began before it.
constexpr bool is_utf8_continuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

}  // namespace t5g
