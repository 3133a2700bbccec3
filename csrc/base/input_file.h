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

namespace t5g {

// Threads may share it.
class InputFile {
 public:
  // Throws FileNotFound or IoError (a folder, no permission, no regular file).
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size_bytes() const { return opened_.size_bytes; }

  // Fills `out` with the bytes from `offset` on, which lie inside the file. Throws ModelFormatError when the file has
  // changed since it was opened, and IoError.
  void read(uint64_t offset, std::span<std::byte> out) const;
  // Throws as read() does. A file counts as changed when its size or the time of the last writing differs; another file
  // that takes its name changes nothing, as this one stays open.
  void check_unchanged() const;

 private:
  struct State {
    uint64_t size_bytes;
    int64_t seconds, nanoseconds;  // of the last writing
    bool operator==(const State&) const = default;
  };
  State state() const;
  void wait_for_clock() const;
  [[noreturn]] void fail_changed(const State& now) const;

  std::string path_;
  int descriptor_ = -1;
  State opened_{};
};

}  // namespace t5g
