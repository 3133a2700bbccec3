// The file of an encoded source: a header of fixed size, token ids, hidden states, all little endian.
#include "runtime/encoded_source.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/mapped_file.h"

namespace t5g {
namespace {

constexpr char kMagic[8] = {'t', '5', 'g', '-', 's', 'r', 'c', '1'};

struct Header {
  char magic[8];
  uint64_t model_fingerprint;
  uint64_t n_tokens;
  uint64_t hidden_size;
};

// Written to a temporary file beside the target and renamed, so that a full disk or a kill leaves no half file behind.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path)
      : path_(path),
        temporary_(path + ".tmp" + std::to_string(::getpid())),
        file_(std::fopen(temporary_.c_str(), "wb")) {
    if (file_ == nullptr) throw IoError(path_, "creating", errno);
  }
  ~AtomicFile() {
    if (file_ == nullptr) return;
    std::fclose(file_);
    std::remove(temporary_.c_str());
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t size_bytes) {
    if (size_bytes > 0 && std::fwrite(data, 1, size_bytes, file_) != size_bytes) throw IoError(path_, "writing", errno);
  }

  void commit() {
    std::FILE* file = std::exchange(file_, nullptr);
    if (std::fclose(file) != 0) fail("writing");
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("renaming to");
  }

 private:
  [[noreturn]] void fail(const char* action) {
    const int error = errno;
    std::remove(temporary_.c_str());
    throw IoError(path_, action, error);
  }

  const std::string path_;
  const std::string temporary_;
  std::FILE* file_;
};

}  // namespace

void EncodedSource::save(const std::string& path) const {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.model_fingerprint = model_fingerprint_;
  header.n_tokens = ids_.size();
  header.hidden_size = static_cast<uint64_t>(hidden_size_);
  AtomicFile file(path);
  file.write(&header, sizeof header);
  file.write(ids_.data(), ids_.size() * sizeof(int32_t));
  file.write(hidden_states_.data(), ids_.size() * static_cast<size_t>(hidden_size_) * sizeof(float));
  file.commit();
}

std::shared_ptr<EncodedSource> EncodedSource::load(const std::string& path, int64_t hidden_size, int64_t vocab_size,
                                                   uint64_t model_fingerprint) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  Header header{};
  if (bytes.size() < sizeof header || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0)
    throw ModelFormatError(path, "not an encoded source. Expected a file written by EncodedSource.save.");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.model_fingerprint != model_fingerprint || header.hidden_size != static_cast<uint64_t>(hidden_size)) {
    throw ModelFormatError(path, "was encoded with another model. Encode the source again with this one.");
  }
  const uint64_t bytes_per_token = sizeof(int32_t) + header.hidden_size * sizeof(float);
  const uint64_t payload = bytes.size() - sizeof header;
  if (payload % bytes_per_token != 0 || payload / bytes_per_token != header.n_tokens) {
    throw ModelFormatError(path, "has " + std::to_string(payload) + " bytes of data, expected " +
                                     std::to_string(header.n_tokens) + " tokens of " + std::to_string(bytes_per_token) +
                                     " bytes. The file is truncated or damaged: save the source again.");
  }
  std::vector<int32_t> ids(header.n_tokens);
  const std::byte* data = bytes.data() + sizeof header;
  if (!ids.empty()) std::memcpy(ids.data(), data, ids.size() * sizeof(int32_t));
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size)
      throw ModelFormatError(path,
                             "has token id " + std::to_string(id) + ", outside the vocabulary. The file is damaged.");
  }
  const size_t state_bytes = ids.size() * static_cast<size_t>(hidden_size) * sizeof(float);
  Buffer states(state_bytes);
  if (state_bytes > 0) std::memcpy(states.data(), data + ids.size() * sizeof(int32_t), state_bytes);
  return std::make_shared<EncodedSource>(std::move(ids), std::move(states), hidden_size, model_fingerprint);
}

}  // namespace t5g
