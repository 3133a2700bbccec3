// Paths in UTF-8 whatever the code page, and one table of errors.
#include "base/os/windows/system.h"

#include <cerrno>

namespace t5g::os {
namespace {

// From here on programs get a path only by its verbatim form.
constexpr size_t kLongPath = 240;
constexpr wchar_t kVerbatim[] = L"\\\\?\\";

std::wstring wide(const std::string& text) {
  const int size = static_cast<int>(text.size());
  const int n = ::MultiByteToWideChar(CP_UTF8, 0, text.data(), size, nullptr, 0);
  std::wstring out(static_cast<size_t>(n), L'\0');
  ::MultiByteToWideChar(CP_UTF8, 0, text.data(), size, out.data(), n);
  return out;
}

}  // namespace

std::wstring wide_path(const std::string& path) {
  std::wstring out = wide(path);
  if (out.size() < kLongPath || out.starts_with(L"\\\\")) return out;
  const DWORD n = ::GetFullPathNameW(out.c_str(), 0, nullptr, nullptr);
  if (n == 0) return out;
  std::wstring full(n, L'\0');
  full.resize(::GetFullPathNameW(out.c_str(), n, full.data(), nullptr));
  return full.starts_with(L"\\\\") ? full : kVerbatim + full;
}

std::string narrow(const std::wstring& text) {
  const int size = static_cast<int>(text.size());
  const int n = ::WideCharToMultiByte(CP_UTF8, 0, text.data(), size, nullptr, 0, nullptr, nullptr);
  std::string out(static_cast<size_t>(n), '\0');
  ::WideCharToMultiByte(CP_UTF8, 0, text.data(), size, out.data(), n, nullptr, nullptr);
  return out;
}

int errno_of(DWORD error) {
  switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_PATHNAME:
      return ENOENT;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
    case ERROR_WRITE_PROTECT:
      return EACCES;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
      return EEXIST;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
      return ENOSPC;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_COMMITMENT_LIMIT:
      return ENOMEM;
    case ERROR_TOO_MANY_OPEN_FILES:
      return EMFILE;
    case ERROR_INVALID_HANDLE:
      return EBADF;
    case ERROR_INVALID_PARAMETER:
      return EINVAL;
    case ERROR_DIRECTORY:
      return ENOTDIR;
    default:
      return EIO;
  }
}

void set_errno() { errno = errno_of(::GetLastError()); }

}  // namespace t5g::os
