// The beginning of a file, as much of it as the parser has asked for, in memory that stays where it is: names and
// values are views into it. Or all of a file that is in memory already.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/input_file.h"

namespace t5g::gguf {

class HeaderBytes {
 public:
  // The bytes must outlive the object.
  explicit HeaderBytes(std::span<const std::byte> all) : size_bytes_(all.size()), read_(all) {}
  // Keeps a reference to the file until close(). `name` is what errors call it.
  HeaderBytes(const InputFile& file, const std::string& name);
  ~HeaderBytes();
  HeaderBytes(const HeaderBytes&) = delete;
  HeaderBytes& operator=(const HeaderBytes&) = delete;

  // Of the whole file.
  uint64_t size_bytes() const { return size_bytes_; }
  // The first n bytes, n being at most size_bytes(). Throws ModelFormatError for more than any header has, and what
  // InputFile::read() throws.
  std::span<const std::byte> first(uint64_t n) {
    if (n > read_.size()) read_up_to(n);
    return read_.first(n);
  }

  // Gives back the memory of all but the first n bytes.
  void trim(uint64_t n);
  // Gives back the memory of these bytes, which nobody may look at any more.
  void release(std::span<const std::byte> range) const;

 private:
  void read_up_to(uint64_t n);

  const InputFile* file_ = nullptr;
  std::string name_;
  uint64_t size_bytes_;
  std::span<const std::byte> read_;
  std::byte* reserved_ = nullptr;  // address space
  size_t reserved_bytes_ = 0;
};

}  // namespace t5g::gguf
