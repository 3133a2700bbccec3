// How the CPU opens what others only pass around: a tensor's memory is the host's own. Included by backends that
// compute on the host, and by nobody else.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "tensor/buffer.h"
#include "tensor/storage.h"
#include "tensor/tensor.h"

namespace t5g {

// Memory that the host reads and writes, its own or, with the second constructor, somebody else's.
class HostStorage : public Storage {
 public:
  explicit HostStorage(Buffer buffer) : buffer_(std::move(buffer)), data_(buffer_.data()) {}
  explicit HostStorage(std::byte* data) : data_(data) {}
  std::byte* data() const { return data_; }

 private:
  Buffer buffer_;
  std::byte* const data_;
};

// The rows of a tensor where they lie.
struct HostTensor {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;

  float* row(int64_t i) const {
    assert(i >= 0 && i < rows);
    return data + i * cols;
  }
  int64_t size() const { return rows * cols; }
};

// The caller says so because all storage comes from its own device.
inline const HostStorage& on_host(const Storage& storage) {
  assert(dynamic_cast<const HostStorage*>(&storage) != nullptr);
  return static_cast<const HostStorage&>(storage);
}
inline HostTensor on_host(Tensor tensor) {
  if (!tensor) return {nullptr, tensor.rows, tensor.cols};
  return {reinterpret_cast<float*>(on_host(*tensor.storage).data()) + tensor.offset, tensor.rows, tensor.cols};
}

}  // namespace t5g
