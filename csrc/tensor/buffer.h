// Owning memory for tensors and packed weights: 64-byte aligned, on huge pages where the system grants them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace t5g {

class Buffer {
 public:
  Buffer() = default;
  // Zero-filled. Throws OutOfMemory naming the size when memory cannot be had.
  explicit Buffer(size_t size_bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }

  std::byte* data() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }
  size_t size_bytes() const { return size_bytes_; }

  // How many buffers with memory this process has made: what allocates nothing can prove it.
  static int64_t n_made();

 private:
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// Gives what lies there, inside a buffer, back to the system, in whole pages: it is zero afterwards, or what it was.
void drop_contents(std::byte* data, size_t size_bytes) noexcept;

}  // namespace t5g
