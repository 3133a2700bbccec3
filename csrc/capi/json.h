// The little of JSON that is written here.
#pragma once

#include <string>
#include <string_view>

namespace t5g::capi {

// A text in quotation marks.
std::string quoted(std::string_view text);
// A finite number, with the digits that a float has.
std::string number(double value);

}  // namespace t5g::capi
