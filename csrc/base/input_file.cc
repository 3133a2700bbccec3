// What was read counts only when the file is still the one that was opened.
#include "base/input_file.h"

#include "base/error.h"
#include "base/printable.h"

namespace t5g {

InputFile::InputFile(const std::string& path) : path_(path), shown_(printable(path)), file_(os::open_file(path)) {
  try {
    opened_ = os::file_state(file_, shown_);
  } catch (...) {
    os::close_file(file_);
    throw;
  }
  size_bytes_ = opened_.size_bytes;
  os::wait_for_file_clock(opened_);
}

InputFile::InputFile(int descriptor, uint64_t offset, uint64_t size_bytes, const std::string& name)
    : path_(name), shown_(printable(name)), file_(os::duplicate_file(descriptor, shown_)) {
  try {
    opened_ = os::file_state(file_, shown_);
    const uint64_t size = opened_.size_bytes;
    if (offset > size || (size_bytes != kToTheEnd && size_bytes > size - offset)) {
      const std::string wanted = size_bytes == kToTheEnd ? "bytes" : std::to_string(size_bytes) + " bytes";
      throw InvalidArgument(shown_ + ": has " + std::to_string(size) + " bytes, so there are no " + wanted + " from " +
                            std::to_string(offset) + " on.");
    }
    begin_ = offset;
    size_bytes_ = size_bytes == kToTheEnd ? size - offset : size_bytes;
  } catch (...) {
    os::close_file(file_);
    throw;
  }
  os::wait_for_file_clock(opened_);
}

InputFile::~InputFile() { os::close_file(file_); }

void InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  for (size_t done = 0; done < out.size();) {
    const size_t n = os::read_file(file_, begin_ + offset + uint64_t{done}, out.subspan(done), shown_);
    if (n == 0) fail_changed(os::file_state(file_, shown_));
    done += n;
  }
  // Looked at after reading: a writer sets the time before it changes the content.
  check_unchanged();
}

void InputFile::check_unchanged() const {
  if (const os::FileState now = os::file_state(file_, shown_); now != opened_) fail_changed(now);
}

void InputFile::fail_changed(const os::FileState& now) const {
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
