// The two classes of characters that the matching of added tokens asks for, as Hugging Face's tokenizers see them.
#pragma once

#include <cstddef>
#include <string_view>

namespace t5g {

// Bytes of white space at the start and at the end of valid UTF-8.
size_t leading_white_space(std::string_view text);
size_t trailing_white_space(std::string_view text);

// Whether valid UTF-8 begins or ends with a character that is part of a word (\w of regular expressions).
bool starts_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

}  // namespace t5g
