// Address space for the longest header is reserved at once and becomes memory as it is read.
#include "gguf/header_bytes.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"

namespace t5g::gguf {
namespace {

// A vocabulary of 262,144 pieces takes 8 MB. Unlike the rest of a file, its header is in memory as a whole, and this is
// as much as a file can make the reader take.
constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
constexpr uint64_t kFirstRead = uint64_t{64} << 10;

uint64_t page_bytes() { return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)); }

uint64_t whole_pages(uint64_t n) { return (n + page_bytes() - 1) / page_bytes() * page_bytes(); }

}  // namespace

HeaderBytes::HeaderBytes(const InputFile& file, const std::string& name)
    : file_(&file), name_(name), size_bytes_(file.size_bytes()) {
  if (size_bytes_ == 0) return;
  reserved_bytes_ = whole_pages(std::min(size_bytes_, kMaxBytes));
  void* reserved = ::mmap(nullptr, reserved_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (reserved == MAP_FAILED) throw IoError(name, "reserving memory for its header", errno);
  reserved_ = static_cast<std::byte*>(reserved);
}

HeaderBytes::~HeaderBytes() {
  if (reserved_ != nullptr) ::munmap(reserved_, reserved_bytes_);
}

void HeaderBytes::read_up_to(uint64_t n) {
  const uint64_t max = std::min(size_bytes_, kMaxBytes);
  if (n > max) {
    throw ModelFormatError(name_, "its header has more than " + std::to_string(kMaxBytes >> 20) +
                                      " MiB. The file is damaged or was made by a faulty tool.");
  }
  // Twice as much each time: few reads, and never far too much.
  const uint64_t wanted = std::min(max, std::max({n, 2 * uint64_t{read_.size()}, kFirstRead}));
  if (::mprotect(reserved_, whole_pages(wanted), PROT_READ | PROT_WRITE) != 0)
    throw IoError(name_, "getting memory for its header", errno);
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
  const uint64_t page = page_bytes();
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(range.data()) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(range.data()) + range.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace t5g::gguf
