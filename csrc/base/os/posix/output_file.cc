// POSIX calls. Paths are resolved here rather than by the kernel, because a file is renamed in the folder that it is
// in.
#include "base/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/os/process.h"
#include "base/printable.h"
#include "base/random.h"

namespace t5g {
namespace {

constexpr int kMaxLinks = 40;           // as Linux
constexpr size_t kNameBytesKept = 100;  // of the target's name in the temporary one: both fit into 255
constexpr mode_t kPermissions = 0777;   // set-id bits would pass from one owner to another
constexpr int kAttempts = 100;

// "a/b/c" to "a/b/" and "c".
std::pair<std::string, std::string> split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {path.substr(0, slash + 1), path.substr(slash + 1)};
}

// Absolute and without links; empty, with errno, where there is no such thing.
std::string real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> found(::realpath(path.c_str(), nullptr), &std::free);
  return found ? found.get() : std::string();
}

std::string real_folder(const std::string& folder, const std::string& name) {
  const std::string real = real_path(folder);
  struct stat status{};
  if (!real.empty() && ::stat(real.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return real;
    errno = ENOTDIR;
  }
  const int error = errno;
  const std::string shown = printable(folder.size() > 1 ? folder.substr(0, folder.find_last_not_of('/') + 1) : folder);
  if (error == ENOENT || error == ENOTDIR)
    throw IoError(shown + ": no such folder to write " + printable(name) + " to.", error);
  throw IoError::of_writing(shown, "opening the folder to write " + printable(name) + " to", error);
}

// The number N of /dev/fd/N and its like: an open file of this process, which another one of that name is not.
int own_descriptor(const std::string& folder, const std::string& name) {
  if (name.empty() || name.size() > 6 || name.find_first_not_of("0123456789") != std::string::npos) return -1;
  for (const char* of_this_process : {"/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"})
    if (folder == real_path(of_this_process)) return std::stoi(name);
  return -1;
}

std::string read_link(const std::string& path, const std::string& shown) {
  char target[4096];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  if (n < 0) throw IoError(shown, "following its link", errno);
  return {target, static_cast<size_t>(n)};
}

// As the effective user, where the system can tell: Android's C library knows the real one alone.
bool may_write(const std::string& path) {
  if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0) return true;
  return errno == EINVAL && ::faccessat(AT_FDCWD, path.c_str(), W_OK, 0) == 0;
}

// What there is, by its type. The path is no link any more.
OutputTarget::Kind kind_of(const struct stat& status, const std::string& path, const std::string& shown) {
  if (S_ISDIR(status.st_mode)) throw IoError(shown + ": is a folder. Give the name of the file to write.", EISDIR);
  if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) return OutputTarget::Kind::kStream;
  if (!S_ISREG(status.st_mode)) {
    throw InvalidArgument(shown + ": is a " + (S_ISSOCK(status.st_mode) ? "socket" : "block device") +
                          ", no regular file. Give another name.");
  }
  // Renaming would get around a file's being read-only.
  if (!may_write(path)) throw IoError::of_writing(shown, "writing", errno);
  return OutputTarget::Kind::kFile;
}

// Linux refuses links that others put into folders open to all, and so does the rename that follows this look.
void check_that_the_system_agrees(const std::string& path, const std::string& real, const std::string& shown) {
  struct stat found{}, expected{};
  if (::stat(path.c_str(), &found) != 0) {
    if (errno != ENOENT) throw IoError(shown, "following its link", errno);
    return;
  }
  if (::lstat(real.c_str(), &expected) != 0 || found.st_dev != expected.st_dev || found.st_ino != expected.st_ino)
    throw IoError(shown, "following its link", ELOOP);
}

std::string random_name(const std::string& name) {
  size_t kept = std::min(name.size(), kNameBytesKept);
  while (kept > 0 && kept < name.size() && (name[kept] & 0xc0) == 0x80) --kept;  // no part of a character
  char suffix[16];
  std::snprintf(suffix, sizeof suffix, ".%08x.tmp", static_cast<unsigned>(random_number()));
  return "." + name.substr(0, kept) + suffix;
}

void check_space(const std::string& folder, uint64_t expected_bytes, const std::string& shown) {
  struct statvfs status{};
  // Not all file systems count: no blocks at all means that.
  if (expected_bytes == 0 || ::statvfs(folder.c_str(), &status) != 0 || status.f_blocks == 0) return;
  const uint64_t free_bytes = uint64_t{status.f_bavail} * status.f_frsize;
  if (free_bytes >= expected_bytes) return;
  char what[128];
  std::snprintf(what, sizeof what, ": no space left on device: %.2f GB needed, %.2f GB free.",
                static_cast<double>(expected_bytes) / 1e9, static_cast<double>(free_bytes) / 1e9);
  throw IoError(shown + what + remedy_of_writing(ENOSPC), ENOSPC);
}

}  // namespace

OutputTarget find_output(const std::string& path) {
  const std::string shown = printable(path);
  if (path.empty()) throw InvalidArgument("the name of the file to write is empty.");
  if (path.find('\0') != std::string::npos) throw InvalidArgument(shown + ": the name of a file has no zero bytes.");
  std::string at = path;
  for (int n_links = 0;; ++n_links) {
    if (n_links > kMaxLinks) throw IoError(shown, "following its links", ELOOP);
    const auto [folder, name] = split(at);
    std::string real = real_folder(folder, name.empty() ? at : name);
    if (const int descriptor = own_descriptor(real, name); descriptor >= 0)
      return {OutputTarget::Kind::kStream, at, descriptor};
    if (real != "/") real += '/';
    struct stat status{};
    if (::lstat((real + name).c_str(), &status) != 0) {
      if (errno != ENOENT) throw IoError(shown, "opening", errno);
      if (n_links > 0) check_that_the_system_agrees(path, real + name, shown);
      return {OutputTarget::Kind::kNew, real + name};
    }
    if (!S_ISLNK(status.st_mode)) {
      if (n_links > 0) check_that_the_system_agrees(path, real + name, shown);
      return {kind_of(status, real + name, shown), real + name};
    }
    const std::string link = read_link(real + name, shown);
    at = link.starts_with('/') ? link : real + link;
  }
}

OutputFile::OutputFile(const std::string& path, uint64_t expected_bytes)
    : shown_(printable(path)), owner_(os::process_id()) {
  const OutputTarget target = find_output(path);
  if (target.kind == OutputTarget::Kind::kStream)
    throw InvalidArgument(shown_ + ": exists and is no regular file. Give another name.");
  const auto [folder, name] = split(target.path);
  check_space(folder, expected_bytes, shown_);
  // A new file gets its mode from the umask; in place of an old one it is nobody else's until it has that one's.
  const mode_t mode = target.kind == OutputTarget::Kind::kNew ? 0666 : 0600;
  for (int i = 0; descriptor_ < 0 && i < kAttempts; ++i) {
    temporary_ = folder + random_name(name);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
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
  ::close(descriptor);
  if (os::process_id() == owner_) ::unlink(temporary_.c_str());
}

void OutputFile::fail(const std::string& action) {
  const int error = errno;
  discard();
  throw IoError::of_writing(shown_, action, error);
}

void OutputFile::write(const void* data, size_t size_bytes) {
  const auto* bytes = static_cast<const char*>(data);
  while (size_bytes > 0) {
    const ssize_t n = ::write(descriptor_, bytes, size_bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("writing");
    bytes += n;
    size_bytes -= static_cast<size_t>(n);
  }
}

void OutputFile::take_over_attributes() {
  struct stat old{}, own{};
  if (::lstat(target_.c_str(), &old) != 0 || ::fstat(descriptor_, &own) != 0) return;  // a new file
  if (!S_ISREG(old.st_mode)) {
    discard();
    throw InvalidArgument(shown_ + ": is no regular file any more. Give another name.");
  }
  mode_t mode = old.st_mode & kPermissions;
  const bool same = old.st_uid == own.st_uid && old.st_gid == own.st_gid;
  // What the group may do is not for another group: that may what everybody may.
  if (!same && ::fchown(descriptor_, old.st_uid, old.st_gid) != 0 && old.st_gid != own.st_gid &&
      ::fchown(descriptor_, static_cast<uid_t>(-1), old.st_gid) != 0)
    mode = static_cast<mode_t>((mode & ~mode_t{070}) | (mode & 07) << 3);
  // Some file systems have no modes of their own and refuse; the file is worth more than they are.
  static_cast<void>(::fchmod(descriptor_, mode));
}

void OutputFile::commit() {
  take_over_attributes();
  // Else a power cut may leave the name and not the content. Some file systems cannot and need not.
  if (::fsync(descriptor_) != 0 && errno != EINVAL && errno != ENOTSUP && errno != ENOSYS) fail("writing");
  // Closed last: a network's file system reports a full disk here.
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    throw IoError::of_writing(shown_, "writing", error);
  }
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    throw IoError::of_writing(shown_, "giving the finished file its name", error);
  }
}

}  // namespace t5g
