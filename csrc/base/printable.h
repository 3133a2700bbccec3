// Text of unknown origin made fit for a one-line message: names out of a file may hold line breaks, escape sequences or
// bytes that are no UTF-8 at all.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace t5g {

// Valid UTF-8 on one line: control characters, line separators and bytes that are not UTF-8 become \xNN. Longer texts
// are cut to about max_bytes and end in "...".
std::string printable(std::string_view text, size_t max_bytes = 4096);

}  // namespace t5g
