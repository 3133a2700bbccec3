// Files that others may write to, rename and delete while they are open here, as on other systems.
#include "base/os/file.h"

#include <io.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/os/windows/system.h"
#include "base/printable.h"

// In the Universal C Runtime since Windows 10, and not in every header.
extern "C" _invalid_parameter_handler _set_thread_local_invalid_parameter_handler(_invalid_parameter_handler handler);

namespace t5g::os {
namespace {

constexpr size_t kMaxRead = size_t{1} << 30;
constexpr int64_t kTicksPerSecond = 10'000'000;  // of a FILETIME, which are 100 ns each
constexpr DWORD kClockTickMs = 16;

HANDLE handle_of(File file) { return reinterpret_cast<HANDLE>(file); }

// -1 for a number that no open file has. The C library would end the process for one, unless it is told not to.
intptr_t handle_of_descriptor(int descriptor) {
  const auto before = ::_set_thread_local_invalid_parameter_handler(
      [](const wchar_t*, const wchar_t*, const wchar_t*, unsigned, uintptr_t) {});
  const intptr_t handle = ::_get_osfhandle(descriptor);
  ::_set_thread_local_invalid_parameter_handler(before);
  return handle;
}

[[noreturn]] void fail(const std::string& name, const std::string& action) {
  throw IoError(name, action, errno_of(::GetLastError()));
}

}  // namespace

File open_file(const std::string& path) {
  const std::string shown = printable(path);
  if (path.find('\0') != std::string::npos) throw FileNotFound(shown);
  const std::wstring wide = wide_path(path);
  const DWORD attributes = ::GetFileAttributesW(wide.c_str());
  if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0)
    throw IoError(shown, "opening", EISDIR);
  const HANDLE handle =
      ::CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                    OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (handle == INVALID_HANDLE_VALUE) {
    if (errno_of(::GetLastError()) == ENOENT) throw FileNotFound(shown);
    fail(shown, "opening");
  }
  if (::GetFileType(handle) == FILE_TYPE_DISK) return reinterpret_cast<File>(handle);
  ::CloseHandle(handle);
  throw IoError(shown, "reading something that is not a regular file", EINVAL);
}

File duplicate_file(int descriptor, const std::string& name) {
  const std::string action = "using the descriptor " + std::to_string(descriptor);
  const intptr_t handle = handle_of_descriptor(descriptor);
  if (handle == -1) throw IoError(name, action, EBADF);
  HANDLE own = nullptr;
  const HANDLE process = ::GetCurrentProcess();
  if (!::DuplicateHandle(process, reinterpret_cast<HANDLE>(handle), process, &own, 0, FALSE, DUPLICATE_SAME_ACCESS))
    fail(name, action);
  if (::GetFileType(own) == FILE_TYPE_DISK) return reinterpret_cast<File>(own);
  ::CloseHandle(own);
  throw IoError(name, "reading something that is not a regular file", EINVAL);
}

void close_file(File file) noexcept { ::CloseHandle(handle_of(file)); }

FileState file_state(File file, const std::string& name) {
  BY_HANDLE_FILE_INFORMATION info;
  if (!::GetFileInformationByHandle(handle_of(file), &info)) fail(name, "reading");
  const int64_t ticks = int64_t{info.ftLastWriteTime.dwHighDateTime} << 32 | info.ftLastWriteTime.dwLowDateTime;
  return {uint64_t{info.nFileSizeHigh} << 32 | info.nFileSizeLow, ticks / kTicksPerSecond,
          ticks % kTicksPerSecond * 100};
}

size_t read_file(File file, uint64_t offset, std::span<std::byte> out, const std::string& name) {
  OVERLAPPED at{};  // of a handle that is not for overlapped reading: where to read, and nothing else
  at.Offset = static_cast<DWORD>(offset);
  at.OffsetHigh = static_cast<DWORD>(offset >> 32);
  DWORD n = 0;
  if (::ReadFile(handle_of(file), out.data(), static_cast<DWORD>(std::min(out.size(), kMaxRead)), &n, &at)) return n;
  if (::GetLastError() == ERROR_HANDLE_EOF) return 0;
  fail(name, "reading");
}

bool is_used_up_quota(int errno_value) {
  static_cast<void>(errno_value);
  return false;  // there it is a full disk
}

void wait_for_file_clock(const FileState& state) {
  FILETIME now;
  ::GetSystemTimeAsFileTime(&now);
  const int64_t ticks = int64_t{now.dwHighDateTime} << 32 | now.dwLowDateTime;
  const int64_t written = state.seconds * kTicksPerSecond + state.nanoseconds / 100;
  if (ticks <= written && written - ticks < kTicksPerSecond) ::Sleep(kClockTickMs);
}

}  // namespace t5g::os
