// pread and fstat.
#include "base/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/printable.h"

namespace t5g {
namespace {

int open_regular(const std::string& path) {
  const std::string shown = printable(path);
  if (path.find('\0') != std::string::npos) throw FileNotFound(shown);
  // O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw FileNotFound(shown);
    throw IoError(shown, "opening", errno);
  }
  struct stat status{};
  const int error = ::fstat(descriptor, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
  if (error == 0 && S_ISREG(status.st_mode)) return descriptor;
  ::close(descriptor);
  if (error != 0) throw IoError(shown, "opening", error);
  throw IoError(shown, "reading something that is not a regular file", EINVAL);
}

}  // namespace

InputFile::InputFile(const std::string& path) : path_(path), descriptor_(open_regular(path)) {
  try {
    opened_ = state();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
  wait_for_clock();
}

// Files get their times from a clock that stands still for some milliseconds. A file written to in this very moment is
// left alone until it goes on: what is written after that shows.
void InputFile::wait_for_clock() const {
#ifdef CLOCK_REALTIME_COARSE
  constexpr int kMaxTicks = 20;  // a time in the future is not waited for
  struct timespec now{};
  for (int i = 0; i < kMaxTicks && ::clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0; ++i) {
    if (std::pair(int64_t{now.tv_sec}, int64_t{now.tv_nsec}) > std::pair(opened_.seconds, opened_.nanoseconds)) return;
    constexpr struct timespec kTick{.tv_sec = 0, .tv_nsec = 1'000'000};
    ::nanosleep(&kTick, nullptr);
  }
#endif
}

InputFile::~InputFile() { ::close(descriptor_); }

InputFile::State InputFile::state() const {
  struct stat status{};
  if (::fstat(descriptor_, &status) != 0) throw IoError(printable(path_), "reading", errno);
#ifdef __APPLE__
  const struct timespec& written = status.st_mtimespec;
#else
  const struct timespec& written = status.st_mtim;
#endif
  return {static_cast<uint64_t>(status.st_size), written.tv_sec, written.tv_nsec};
}

void InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  for (size_t done = 0; done < out.size();) {
    const ssize_t n =
        ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + uint64_t{done}));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw IoError(printable(path_), "reading", errno);
    if (n == 0) fail_changed(state());
    done += static_cast<size_t>(n);
  }
  // Looked at after reading: a writer sets the time before it changes the content.
  check_unchanged();
}

void InputFile::check_unchanged() const {
  if (const State now = state(); now != opened_) fail_changed(now);
}

void InputFile::fail_changed(const State& now) const {
  const std::string what = now.size_bytes == opened_.size_bytes
                               ? "somebody has written to the file since it was opened"
                               : "the file had " + std::to_string(opened_.size_bytes) +
                                     " bytes when it was opened and has " + std::to_string(now.size_bytes) + " now";
  throw ModelFormatError(path_, what +
                                    ", so what is left of it cannot be trusted. Begin again with a file that nobody "
                                    "writes to: rename a new one over a file in use, or open models with "
                                    "load=\"copy\".");
}

}  // namespace t5g
