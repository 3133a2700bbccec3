// Files that are read at any place, by threads side by side, and known by size and time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace t5g::os {

// A descriptor, or what the system has in its place.
using File = intptr_t;
inline constexpr File kNoFile = -1;

struct FileState {
  uint64_t size_bytes = 0;
  int64_t seconds = 0, nanoseconds = 0;  // of the last writing
  bool operator==(const FileState&) const = default;
};

// path: UTF-8, or on POSIX any bytes. Throws FileNotFound, and IoError for what is no regular file or may not be read.
File open_file(const std::string& path);
// A handle of our own on an open file; the caller keeps his. name: what errors call it.
File duplicate_file(int descriptor, const std::string& name);
void close_file(File file) noexcept;

// Throws IoError, as does what follows.
FileState file_state(File file, const std::string& name);
// Reads from `offset` on -> bytes read, at least one; 0 at the end of the file.
size_t read_file(File file, uint64_t offset, std::span<std::byte> out, const std::string& name);

// Whether an error of writing says that a user's share of a disk is used up.
bool is_used_up_quota(int errno_value);

// Files get their times from a clock that may stand still for some milliseconds. Returns when it has gone on from
// there, so that what is written after that shows; a time in the future is not waited for.
void wait_for_file_clock(const FileState& state);

}  // namespace t5g::os
