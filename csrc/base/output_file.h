// A file that appears whole or not at all: it is written under another name in the same folder and takes its own when
// it is complete. The one way in which t5g writes files; docs/files.md has the rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace t5g {

// Where writing to a path leads.
struct OutputTarget {
  enum class Kind {
    kNew,
    kFile,    // a regular file that may be replaced
    kStream,  // a pipe or a character device: it cannot be replaced, only written to
  };
  Kind kind = Kind::kNew;
  std::string path;     // absolute, and no symbolic link
  int descriptor = -1;  // of a stream that is a file this process has open: /dev/stdout, /dev/fd/3
};

// Follows symbolic links and looks at what is there. Throws IoError for a folder, one that is missing, and what may not
// be written; InvalidArgument for a socket, a block device and a path that is none.
OutputTarget find_output(const std::string& path);

class OutputFile {
 public:
  // Makes the temporary file. Throws as find_output() does, InvalidArgument for a stream, and IoError where it cannot
  // be made or the file system has fewer than `expected_bytes` left.
  explicit OutputFile(const std::string& path, uint64_t expected_bytes = 0);
  // Without commit() before, nothing is left of it.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // The file that will be there.
  const std::string& path() const { return target_; }
  // To write to; -1 after commit() and discard().
  int descriptor() const { return descriptor_; }

  void write(const void* data, size_t size_bytes);
  // Makes what has been written last, and gives it the name. A file that is there by then is replaced and leaves its
  // mode, and its owner and group where this process may set them (on Windows, its attributes). Throws IoError, with
  // the old file untouched.
  void commit();
  void discard() noexcept;

 private:
  void take_over_attributes();
  [[noreturn]] void fail(const std::string& action);

  std::string target_, temporary_, shown_;
  int descriptor_ = -1;
  // A child that this process forks meanwhile has a copy of the object, and no claim to the file.
  int64_t owner_;
};

}  // namespace t5g
