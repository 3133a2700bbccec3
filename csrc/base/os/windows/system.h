// What every file here needs of Windows: its header without macros that take names away, paths, and errors as errno.
#pragma once

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <string>

namespace t5g::os {

// The errno that says the same as an error of Windows; EIO for what has no such word.
int errno_of(DWORD error);
// errno from GetLastError().
void set_errno();

// UTF-8 and back. What is no UTF-8 becomes U+FFFD, which names no file. Paths are made absolute where they are too long
// for programs otherwise.
std::wstring wide_path(const std::string& path);
std::string narrow(const std::wstring& text);

}  // namespace t5g::os
