// A file that is read piece by piece as it was when it was opened: if somebody has written to it since, reading it is
// an error, and never its new content.
//
// It is not mapped. A page of a mapping whose file was cut ends the process that touches it, a file that is overwritten
// changes under whoever looks at it, and neither can be locked out. Copying from the system's cache into memory that
// is used again and again takes less time than mapping, touching and giving back every page once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/os/file.h"

namespace t5g {

// Threads may share it.
class InputFile {
 public:
  // Throws FileNotFound or IoError (a folder, no permission, no regular file).
  explicit InputFile(const std::string& path);
  // Part of a file that somebody has opened, from byte `offset` on; size_bytes of kToTheEnd: all the rest. The
  // descriptor stays the caller's. name: what errors call it. Throws InvalidArgument where the file has no such part,
  // and as above.
  InputFile(int descriptor, uint64_t offset, uint64_t size_bytes, const std::string& name);
  static constexpr uint64_t kToTheEnd = UINT64_MAX;
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size_bytes() const { return size_bytes_; }

  // Fills `out` with the bytes from `offset` on, which lie inside the file. Throws ModelFormatError when the file has
  // changed since it was opened, and IoError.
  void read(uint64_t offset, std::span<std::byte> out) const;
  // Throws as read() does. A file counts as changed when its size or the time of the last writing differs; another file
  // that takes its name changes nothing, as this one stays open.
  void check_unchanged() const;

 private:
  [[noreturn]] void fail_changed(const os::FileState& now) const;

  std::string path_;
  const std::string shown_;  // the path in messages; kept, as reads allocate nothing
  os::File file_;
  os::FileState opened_;
  uint64_t begin_ = 0, size_bytes_ = 0;  // of what is looked at
};

}  // namespace t5g
