// How many parts of one size hold a number of things.
#pragma once

#include <cstdint>

namespace t5g {

constexpr int64_t ceil_div(int64_t n, int64_t part) { return (n + part - 1) / part; }

}  // namespace t5g
