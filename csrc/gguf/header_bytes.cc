// Address space for the longest header is reserved at once and becomes memory as it is read.
#include "gguf/header_bytes.h"

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/os/memory.h"

namespace t5g::gguf {
namespace {

// A vocabulary of 262,144 pieces takes 8 MB. Unlike the rest of a file, its header is in memory as a whole, and this is
// as much as a file can make the reader take.
constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
constexpr uint64_t kFirstRead = uint64_t{64} << 10;

uint64_t whole_pages(uint64_t n) {
  const uint64_t page = os::page_bytes();
  return (n + page - 1) / page * page;
}

}  // namespace

HeaderBytes::HeaderBytes(const InputFile& file, const std::string& name)
    : file_(&file), name_(name), size_bytes_(file.size_bytes()) {
  if (size_bytes_ == 0) return;
  reserved_bytes_ = whole_pages(std::min(size_bytes_, kMaxBytes));
  reserved_ = os::reserve_pages(reserved_bytes_);
  if (reserved_ == nullptr) throw IoError(name, "reserving memory for its header", errno);
}

HeaderBytes::~HeaderBytes() {
  if (reserved_ != nullptr) os::free_pages(reserved_, reserved_bytes_);
}

void HeaderBytes::read_up_to(uint64_t n) {
  const uint64_t max = std::min(size_bytes_, kMaxBytes);
  if (n > max) {
    throw ModelFormatError(name_, "its header has more than " + std::to_string(kMaxBytes >> 20) +
                                      " MiB. The file is damaged or was made by a faulty tool.");
  }
  // Twice as much each time: few reads, and never far too much.
  const uint64_t wanted = std::min(max, std::max({n, 2 * uint64_t{read_.size()}, kFirstRead}));
  if (!os::commit_pages(reserved_, whole_pages(wanted))) throw IoError(name_, "getting memory for its header", errno);
  file_->read(read_.size(), {reserved_ + read_.size(), wanted - read_.size()});
  read_ = {reserved_, wanted};
}

void HeaderBytes::trim(uint64_t n) {
  if (reserved_ == nullptr || n >= read_.size()) return;
  release(read_.subspan(n));
  read_ = read_.first(n);
}

void HeaderBytes::release(std::span<const std::byte> range) const {
  if (reserved_ == nullptr) return;
  // Only whole pages inside the range: a neighbour may still be in use.
  const auto offset = static_cast<size_t>(range.data() - reserved_);
  const size_t page = os::page_bytes(), begin = whole_pages(offset), end = (offset + range.size()) / page * page;
  if (begin < end) os::discard_pages(reserved_ + begin, end - begin);
}

}  // namespace t5g::gguf
