// Opening a file: header, metadata, tensor list, in the order in which they lie there.
#include "gguf/reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/printable.h"
#include "base/utf8.h"
#include "gguf/cursor.h"
#include "gguf/sorted_index.h"

namespace t5g {

using gguf::Cursor;

namespace {

constexpr uint32_t kVersion = 3;
// Real files have fewer than 100 keys and 2,000 tensors. With these caps, what a file can make the reader allocate is
// a few megabytes, whatever it says.
constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 16;
constexpr size_t kMaxKeyBytes = (1 << 16) - 1;  // the format's own limit
constexpr size_t kNameBytesShown = 100;
constexpr uint64_t kBytesLookedAt = 64;  // to find out what else a file is
constexpr size_t kLongArray = size_t{64} << 10;
// Alignments: at least that of any number in a block, so that data pointers may be cast.
constexpr uint32_t kMinAlignment = 8, kMaxAlignment = 1 << 16;

std::string quoted(std::string_view name) { return "'" + printable(name, kNameBytesShown) + "'"; }

// What files that people take for a GGUF file begin with.
struct OtherFormat {
  std::string_view begins_with;
  const char* what;
};
constexpr OtherFormat kOtherFormats[] = {
    {"version https://git-lfs", "is a Git LFS pointer, not the file itself. Fetch the file with `git lfs pull`."},
    {"PK\x03\x04", "is a zip archive (a PyTorch checkpoint?), not a GGUF file. Convert the model with t5g-convert."},
    {"<!DOCTYPE", "is a web page, not a GGUF file. Download the file itself."},
    {"<html", "is a web page, not a GGUF file. Download the file itself."},
    {"{", "is JSON, not a GGUF file. Convert the model's folder with t5g-convert."},
};

[[noreturn]] void fail_magic(std::span<const std::byte> bytes, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const OtherFormat& other : kOtherFormats) {
    if (text.starts_with(other.begins_with)) throw ModelFormatError(name, other.what);
  }
  // The header of a safetensors file is JSON after its length in 8 bytes.
  if (text.size() > 8 && text.substr(8).starts_with("{\"")) {
    throw ModelFormatError(name,
                           "is a safetensors file, not a GGUF file. Convert the model's folder with t5g-convert.");
  }
  throw ModelFormatError(name, "not a GGUF file: it begins with " + quoted(text.substr(0, 4)) +
                                   ", expected 'GGUF'. Convert the model with t5g-convert.");
}

void check_version(uint32_t version, const std::string& name) {
  if (version == kVersion) return;
  if (version != 0 && (version & 0xffffu) == 0) {
    throw ModelFormatError(name, "a big-endian GGUF file, expected little-endian. Convert the model with t5g-convert.");
  }
  throw ModelFormatError(
      name, "GGUF version v" + std::to_string(version) + ", expected v3. Convert the model again with t5g-convert.");
}

void check_count(uint64_t count, uint64_t max, const char* what, const std::string& name) {
  if (count > max) {
    throw ModelFormatError(name, "the header says " + std::to_string(count) + " " + what + ", expected at most " +
                                     std::to_string(max) + ". The file is damaged: download or copy it again.");
  }
}

}  // namespace

GgufFile::GgufFile(std::unique_ptr<const InputFile> file)
    : name_(printable(file->path())), file_(std::move(file)), header_(*file_, name_) {
  parse();
}

GgufFile::GgufFile(std::span<const std::byte> bytes, const std::string& name)
    : name_(printable(name)), bytes_(bytes), header_(bytes) {
  parse();
}

void GgufFile::parse() {
  if (size_bytes() == 0) throw ModelFormatError(name_, "the file is empty. Download or copy it again.");
  const std::span<const std::byte> beginning = header_.first(std::min(size_bytes(), kBytesLookedAt));
  if (beginning.size() < 4 || std::memcmp(beginning.data(), "GGUF", 4) != 0) fail_magic(beginning, name_);
  Cursor cursor(header_, name_);
  cursor.take(4, "the header");
  check_version(cursor.read<uint32_t>("the header"), name_);
  const auto n_tensors = cursor.read<uint64_t>("the header");
  const auto n_keys = cursor.read<uint64_t>("the header");
  check_count(n_tensors, kMaxTensors, "tensors", name_);
  check_count(n_keys, kMaxKeys, "metadata keys", name_);
  read_metadata(cursor, n_keys);
  read_alignment();
  read_tensors(cursor, n_tensors);
  place_tensors(cursor.position());
  header_.trim(cursor.position());
}

void GgufFile::read_metadata(Cursor& cursor, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    const std::string ordinal = "metadata key " + std::to_string(i + 1) + " of " + std::to_string(count);
    const std::string_view key = cursor.string(ordinal);
    if (key.empty() || key.size() > kMaxKeyBytes || !is_utf8(key)) {
      throw ModelFormatError(name_, ordinal + ": " + quoted(key) + " (" + std::to_string(key.size()) +
                                        " bytes), expected UTF-8 of 1 to " + std::to_string(kMaxKeyBytes) +
                                        " bytes. The file is damaged: download or copy it again.");
    }
    const std::string what = "key " + quoted(key);
    const uint64_t begin = cursor.position();
    const auto type_id = cursor.read<uint32_t>(what);
    const gguf::Value value = gguf::read_value(cursor, type_id, name_, what);
    metadata_.push_back({key, value, header_.first(cursor.position()).subspan(begin)});
  }
  const auto key_of = [&](uint32_t i) { return metadata_[i].key; };
  metadata_by_key_ = gguf::sort_by_name(metadata_.size(), key_of);
  if (const auto key = gguf::find_duplicate(metadata_by_key_, key_of)) {
    fail_key(*key, "occurs twice. The file is damaged or was made by a faulty tool.");
  }
}

void GgufFile::read_alignment() {
  constexpr std::string_view kKey = "general.alignment";
  alignment_ = find_u32(kKey).value_or(alignment_);
  if (alignment_ < kMinAlignment || alignment_ > kMaxAlignment || !std::has_single_bit(alignment_)) {
    fail_key(kKey, std::to_string(alignment_) + ", expected a power of two from " + std::to_string(kMinAlignment) +
                       " to " + std::to_string(kMaxAlignment) + ". The file is damaged.");
  }
}

const GgufFile::Metadata* GgufFile::find_metadata(std::string_view key) const {
  const auto found = gguf::find_by_name(metadata_by_key_, key, [&](uint32_t i) { return metadata_[i].key; });
  return found ? &metadata_[*found] : nullptr;
}

void GgufFile::forget_long_arrays() {
  for (Metadata& entry : metadata_) {
    if (!entry.value.is_array || entry.stored.size() < kLongArray) continue;
    entry.forgotten = true;
    header_.release(entry.stored);
  }
}

void GgufFile::fail_key(std::string_view key, const std::string& what) const {
  throw ModelFormatError(name_ + ": key " + quoted(key), what);
}

void GgufFile::fail_tensor(std::string_view name, const std::string& what) const {
  throw ModelFormatError(name_ + ": tensor " + quoted(name), what);
}

}  // namespace t5g
