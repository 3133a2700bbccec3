// A latent source on a GPU: a copy of the encoder's rows, and the scales of the decoder's keys.
#pragma once

#include <cstdint>
#include <memory>

#include "ops/gpu/memory.h"
#include "ops/latent.h"
#include "tensor/state_rows.h"

namespace t5g::gpu {

class GpuLatent final : public Latent {
 public:
  // Without contents. Throws DeviceError.
  GpuLatent(Memory& memory, const LatentFormat& format, int64_t n)
      : format_(format), n_(n), rows_(memory.allocate_unfilled(static_cast<size_t>(n) * row_bytes())) {
    if (format.n_kv_heads > 0)
      scales_ = memory.allocate_unfilled(static_cast<size_t>(format.n_layers * format.n_kv_heads * n) * sizeof(float));
  }

  const LatentFormat& format() const { return format_; }
  int64_t n() const { return n_; }
  size_t row_bytes() const { return state_row_bytes(format_.type, format_.hidden_size); }
  Address rows() const { return rows_->address(); }
  // [n_kv_heads, n] of one layer; 0 where there are none.
  Address scales(int layer) const {
    if (scales_ == nullptr) return 0;
    return scales_->address() + static_cast<Address>(layer * format_.n_kv_heads * n_) * sizeof(float);
  }

 private:
  const LatentFormat format_;
  const int64_t n_;
  const std::unique_ptr<Memory::Block> rows_;
  std::unique_ptr<Memory::Block> scales_;
};

}  // namespace t5g::gpu
