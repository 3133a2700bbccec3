// A file mapped read-only into memory for as long as the object lives. Nobody may shorten the file meanwhile: the
// system ends a process that touches a page which is gone (replacing it by renaming another file over it is safe).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace t5g {

class MappedFile {
 public:
  // Throws FileNotFound or IoError (a folder, no permission). An empty file maps to an empty span.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  // Copies bytes of the mapping without making its pages resident in this process. Throws IoError.
  void copy(std::span<const std::byte> range, std::byte* out) const;

  // Tells the kernel that these bytes are not needed soon: their pages leave this process's resident memory.
  void release(std::span<const std::byte> range) const;

 private:
  std::string path_;
  int fd_ = -1;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace t5g
