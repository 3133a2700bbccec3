// The decoder's keys and values of one source: written once, read in every step. Unlike the pages of a growing
// sequence, each layer's chunks lie one after the other in one block of memory, so that reading them is one long
// stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/decoder.h"
#include "tensor/buffer.h"

namespace t5g {

class SourceCache {
 public:
  // Room for so many tokens. layer_bytes: of one chunk of one layer.
  SourceCache(int64_t length, int64_t layer_bytes, int64_t n_layers)
      : length_(length), n_chunks_((length + kKvChunk - 1) / kKvChunk), layer_stride_(n_chunks_ * layer_bytes) {
    data_ = Buffer(static_cast<size_t>(layer_stride_ * n_layers));
    for (int64_t chunk = 0; chunk < n_chunks_; ++chunk) chunks_.push_back(data_.data() + chunk * layer_bytes);
  }

  KvPages view() const { return {.pages = chunks_, .length = length_, .layer_stride = layer_stride_}; }

 private:
  int64_t length_, n_chunks_, layer_stride_;
  Buffer data_;
  std::vector<std::byte*> chunks_;  // of the first layer
};

}  // namespace t5g
