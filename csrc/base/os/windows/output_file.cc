// A temporary file beside the target, which MoveFileEx puts in its place in one step.
#include "base/output_file.h"

#include <fcntl.h>
#include <io.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/error.h"
#include "base/os/process.h"
#include "base/os/windows/system.h"
#include "base/printable.h"
#include "base/random.h"

namespace t5g {
namespace {

constexpr size_t kNameBytesKept = 100;  // of the target's name in the temporary one: both fit into 255
constexpr int kAttempts = 100;
constexpr unsigned kMaxWrite = 1u << 30;

[[noreturn]] void fail_with_last_error(const std::string& shown, const std::string& action) {
  throw IoError::of_writing(shown, action, os::errno_of(::GetLastError()));
}

// "C:\a\b" to "C:\a\" and "b".
std::pair<std::string, std::string> split(const std::string& path) {
  const size_t end = path.find_last_of("/\\:");
  return end == std::string::npos ? std::pair(std::string(), path)
                                  : std::pair(path.substr(0, end + 1), path.substr(end + 1));
}

std::string full_path(const std::string& path, const std::string& shown) {
  const std::wstring wide = os::wide_path(path);
  const DWORD n = ::GetFullPathNameW(wide.c_str(), 0, nullptr, nullptr);
  if (n == 0) fail_with_last_error(shown, "opening");
  std::wstring full(n, L'\0');
  full.resize(::GetFullPathNameW(wide.c_str(), n, full.data(), nullptr));
  return os::narrow(full);
}

// Where a chain of links ends. The file is there.
std::string without_links(const std::string& path, const std::string& shown) {
  const HANDLE handle =
      ::CreateFileW(os::wide_path(path).c_str(), 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr);
  if (handle == INVALID_HANDLE_VALUE) fail_with_last_error(shown, "following its link");
  std::wstring name(1 << 15, L'\0');
  const DWORD n =
      ::GetFinalPathNameByHandleW(handle, name.data(), static_cast<DWORD>(name.size()), FILE_NAME_NORMALIZED);
  ::CloseHandle(handle);
  if (n == 0 || n >= name.size()) throw IoError(shown, "following its link", ELOOP);
  name.resize(n);
  return os::narrow(name);
}

// Whether a name is a device's: NUL, CON, COM1, \\.\pipe\x. Windows turns these into paths of their own.
bool is_device(const std::string& full) { return full.starts_with("\\\\.\\"); }

std::string random_name(const std::string& name) {
  size_t kept = std::min(name.size(), kNameBytesKept);
  while (kept > 0 && kept < name.size() && (name[kept] & 0xc0) == 0x80) --kept;  // no part of a character
  char suffix[16];
  std::snprintf(suffix, sizeof suffix, ".%08x.tmp", static_cast<unsigned>(random_number()));
  return "." + name.substr(0, kept) + suffix;
}

void check_space(const std::string& folder, uint64_t expected_bytes, const std::string& shown) {
  ULARGE_INTEGER free{};
  if (expected_bytes == 0 || !::GetDiskFreeSpaceExW(os::wide_path(folder).c_str(), &free, nullptr, nullptr)) return;
  if (free.QuadPart >= expected_bytes) return;
  char what[128];
  std::snprintf(what, sizeof what, ": no space left on device: %.2f GB needed, %.2f GB free.",
                static_cast<double>(expected_bytes) / 1e9, static_cast<double>(free.QuadPart) / 1e9);
  throw IoError(shown + what + remedy_of_writing(ENOSPC), ENOSPC);
}

void remove(const std::string& path) { ::DeleteFileW(os::wide_path(path).c_str()); }

}  // namespace

OutputTarget find_output(const std::string& path) {
  const std::string shown = printable(path);
  if (path.empty()) throw InvalidArgument("the name of the file to write is empty.");
  if (path.find('\0') != std::string::npos) throw InvalidArgument(shown + ": the name of a file has no zero bytes.");
  const std::string full = full_path(path, shown);
  if (is_device(full)) return {OutputTarget::Kind::kStream, full};
  const auto [folder, name] = split(full);
  const DWORD of_folder = ::GetFileAttributesW(os::wide_path(folder).c_str());
  if (of_folder == INVALID_FILE_ATTRIBUTES || (of_folder & FILE_ATTRIBUTE_DIRECTORY) == 0)
    throw IoError(printable(folder) + ": no such folder to write " + printable(name) + " to.", ENOENT);
  const DWORD attributes = ::GetFileAttributesW(os::wide_path(full).c_str());
  if (attributes == INVALID_FILE_ATTRIBUTES) {
    if (os::errno_of(::GetLastError()) != ENOENT) fail_with_last_error(shown, "opening");
    return {OutputTarget::Kind::kNew, full};
  }
  if ((attributes & FILE_ATTRIBUTE_DIRECTORY) != 0)
    throw IoError(shown + ": is a folder. Give the name of the file to write.", EISDIR);
  if ((attributes & FILE_ATTRIBUTE_READONLY) != 0) throw IoError::of_writing(shown, "writing", EACCES);
  const bool is_link = (attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0;
  return {OutputTarget::Kind::kFile, is_link ? without_links(full, shown) : full};
}

OutputFile::OutputFile(const std::string& path, uint64_t expected_bytes)
    : shown_(printable(path)), owner_(os::process_id()) {
  const OutputTarget target = find_output(path);
  if (target.kind == OutputTarget::Kind::kStream)
    throw InvalidArgument(shown_ + ": exists and is no regular file. Give another name.");
  const auto [folder, name] = split(target.path);
  check_space(folder, expected_bytes, shown_);
  for (int i = 0; descriptor_ < 0 && i < kAttempts; ++i) {
    temporary_ = folder + random_name(name);
    descriptor_ = ::_wopen(os::wide_path(temporary_).c_str(), _O_WRONLY | _O_CREAT | _O_EXCL | _O_BINARY | _O_NOINHERIT,
                           _S_IREAD | _S_IWRITE);
    if (descriptor_ < 0 && errno != EEXIST)
      throw IoError::of_writing(shown_, "creating a temporary file beside it", errno);
  }
  if (descriptor_ < 0) throw IoError::of_writing(shown_, "creating a temporary file beside it", EEXIST);
  target_ = target.path;
}

OutputFile::~OutputFile() { discard(); }

void OutputFile::discard() noexcept {
  const int descriptor = std::exchange(descriptor_, -1);
  if (descriptor < 0) return;
  ::_close(descriptor);
  try {
    remove(temporary_);
  } catch (...) {  // no memory for its name: it stays
  }
}

void OutputFile::fail(const std::string& action) {
  const int error = errno;
  discard();
  throw IoError::of_writing(shown_, action, error);
}

void OutputFile::write(const void* data, size_t size_bytes) {
  const auto* bytes = static_cast<const char*>(data);
  while (size_bytes > 0) {
    const int n = ::_write(descriptor_, bytes, static_cast<unsigned>(std::min<size_t>(size_bytes, kMaxWrite)));
    if (n < 0) fail("writing");
    bytes += n;
    size_bytes -= static_cast<size_t>(n);
  }
}

// Hidden, not indexed and the like; who may do what comes from the folder.
void OutputFile::take_over_attributes() {
  const DWORD attributes = ::GetFileAttributesW(os::wide_path(target_).c_str());
  if (attributes == INVALID_FILE_ATTRIBUTES) return;  // a new file
  if ((attributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
    discard();
    throw InvalidArgument(shown_ + ": is no regular file any more. Give another name.");
  }
  ::SetFileAttributesW(os::wide_path(temporary_).c_str(), attributes & ~DWORD{FILE_ATTRIBUTE_REPARSE_POINT});
}

void OutputFile::commit() {
  take_over_attributes();
  // Else a power cut may leave the name and not the content.
  if (::_commit(descriptor_) != 0 && errno != EINVAL) fail("writing");
  if (::_close(std::exchange(descriptor_, -1)) != 0) {
    const int error = errno;
    remove(temporary_);
    throw IoError::of_writing(shown_, "writing", error);
  }
  if (!::MoveFileExW(os::wide_path(temporary_).c_str(), os::wide_path(target_).c_str(),
                     MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) {
    const int error = os::errno_of(::GetLastError());
    remove(temporary_);
    throw IoError::of_writing(shown_, "giving the finished file its name", error);
  }
}

}  // namespace t5g
