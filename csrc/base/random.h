// Numbers that nobody can foretell, for seeds and for names of files: there is always one.
#pragma once

#include <cstdint>

namespace t5g {

// From the system where it gives any, else of time, process and count, which two calls never share.
uint64_t random_number() noexcept;

}  // namespace t5g
