// The one way in which the parser reads: every step is checked against the end of the file before it is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "gguf/header_bytes.h"

namespace t5g::gguf {

class Cursor {
 public:
  // where: what errors begin with, normally the file's name. Both must outlive the cursor.
  Cursor(HeaderBytes& bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  uint64_t position() const { return position_; }
  // In the whole file.
  uint64_t remaining() const { return bytes_.size_bytes() - position_; }

  // The next n bytes. `what` names them in the error.
  std::span<const std::byte> take(uint64_t n, std::string_view what) {
    if (n > remaining()) fail(n, what);
    const auto taken = bytes_.first(position_ + n).subspan(position_);
    position_ += n;
    return taken;
  }

  // A little-endian number (the build refuses big-endian machines).
  template <class T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  // A string: its length in 8 bytes, then its bytes.
  std::string_view string(std::string_view what) {
    const auto bytes = take(read<uint64_t>(what), what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  [[noreturn]] void fail(uint64_t n, std::string_view what) const {
    throw ModelFormatError(where_, std::string(what) + " needs " + std::to_string(n) + " bytes at byte " +
                                       std::to_string(position_) + ", but the file ends after " +
                                       std::to_string(remaining()) +
                                       " of them. The file is truncated or damaged: download or copy it again.");
  }

  HeaderBytes& bytes_;
  const std::string& where_;
  uint64_t position_ = 0;
};

}  // namespace t5g::gguf
