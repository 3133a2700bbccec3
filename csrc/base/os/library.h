// Shared libraries that may or may not be there, looked for while the program runs: a driver.
#pragma once

#include <string>

namespace t5g::os {

// Opens a library by the name that the system knows it by, for as long as the process lives -> a handle, or null with
// the reason.
void* open_library(const char* name, std::string& why_not);
// Null where it has no such function.
void* find_symbol(void* library, const char* name);

}  // namespace t5g::os
