// mmap on POSIX systems.
#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/printable.h"

namespace t5g {

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const std::string shown = printable(path);
  // O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw FileNotFound(shown);
    throw IoError(shown, "opening", errno);
  }
  struct stat status{};
  if (::fstat(fd, &status) != 0 || S_ISDIR(status.st_mode)) {
    const int error = S_ISDIR(status.st_mode) ? EISDIR : errno;
    ::close(fd);
    throw IoError(shown, "opening", error);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(fd);
    throw IoError(shown, "mapping something that is not a regular file", EINVAL);
  }
  size_ = static_cast<size_t>(status.st_size);
  if (size_ > 0) {
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped == MAP_FAILED) {
      const int error = errno;
      ::close(fd);
      throw IoError(shown, "mapping", error);
    }
    fd_ = fd;
    data_ = static_cast<const std::byte*>(mapped);
  } else {
    ::close(fd);
  }
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  ::munmap(const_cast<std::byte*>(data_), size_);
  ::close(fd_);
}

void MappedFile::copy(std::span<const std::byte> range, std::byte* out) const {
  for (size_t done = 0; done < range.size();) {
    const auto at = static_cast<off_t>(range.data() - data_) + static_cast<off_t>(done);
    const ssize_t n = ::pread(fd_, out + done, range.size() - done, at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw IoError(printable(path_), "reading", n < 0 ? errno : EIO);
    done += static_cast<size_t>(n);
  }
}

void MappedFile::release(std::span<const std::byte> range) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  // Only whole pages inside the range: a neighbour may still be in use.
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(range.data()) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(range.data()) + range.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace t5g
