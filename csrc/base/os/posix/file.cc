// open, fstat, pread.
#include "base/os/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/printable.h"

namespace t5g::os {
namespace {

int descriptor_of(File file) { return static_cast<int>(file); }

// Closes it, and throws, unless it is a regular file.
File checked(int descriptor, const std::string& shown) {
  struct stat status{};
  const int error = ::fstat(descriptor, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
  if (error == 0 && S_ISREG(status.st_mode)) return descriptor;
  ::close(descriptor);
  if (error != 0) throw IoError(shown, "opening", error);
  throw IoError(shown, "reading something that is not a regular file", EINVAL);
}

}  // namespace

File open_file(const std::string& path) {
  const std::string shown = printable(path);
  if (path.find('\0') != std::string::npos) throw FileNotFound(shown);
  // O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw FileNotFound(shown);
    throw IoError(shown, "opening", errno);
  }
  return checked(descriptor, shown);
}

File duplicate_file(int descriptor, const std::string& name) {
  const int own = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (own < 0) throw IoError(name, "using the descriptor " + std::to_string(descriptor), errno);
  return checked(own, name);
}

void close_file(File file) noexcept { ::close(descriptor_of(file)); }

FileState file_state(File file, const std::string& name) {
  struct stat status{};
  if (::fstat(descriptor_of(file), &status) != 0) throw IoError(name, "reading", errno);
#ifdef __APPLE__
  const struct timespec& written = status.st_mtimespec;
#else
  const struct timespec& written = status.st_mtim;
#endif
  return {static_cast<uint64_t>(status.st_size), written.tv_sec, written.tv_nsec};
}

size_t read_file(File file, uint64_t offset, std::span<std::byte> out, const std::string& name) {
  while (true) {
    const ssize_t n = ::pread(descriptor_of(file), out.data(), out.size(), static_cast<off_t>(offset));
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) throw IoError(name, "reading", errno);
  }
}

bool is_used_up_quota(int errno_value) { return errno_value == EDQUOT; }

void wait_for_file_clock([[maybe_unused]] const FileState& state) {
#ifdef CLOCK_REALTIME_COARSE
  constexpr int kMaxTicks = 20;
  struct timespec now{};
  for (int i = 0; i < kMaxTicks && ::clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0; ++i) {
    if (std::pair(int64_t{now.tv_sec}, int64_t{now.tv_nsec}) > std::pair(state.seconds, state.nanoseconds)) return;
    constexpr struct timespec kTick{.tv_sec = 0, .tv_nsec = 1'000'000};
    ::nanosleep(&kTick, nullptr);
  }
#endif
}

}  // namespace t5g::os
