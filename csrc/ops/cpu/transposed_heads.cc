// The projection of keys the other way round, head by head, as latent sources want it: out of the packed matrix,
// because the file's own bytes may be gone.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/half.h"
#include "kernels/cpu/pack.h"
#include "ops/cpu/cpu_ops.h"

namespace t5g {

// Row i of the matrix as floats.
void CpuMatrix::unpack_row(int64_t i, std::vector<float>& group, float* out) const {
  const int64_t lane = i % kernels::kGroupRows;
  if (lane == 0 || group.empty()) {
    group.resize(static_cast<size_t>(packed_cols() * kernels::kGroupRows));
    const size_t group_bytes = kernels::packed_group_bytes(packed_type(), packed_cols());
    const std::byte* packed = packed_ + static_cast<size_t>(i / kernels::kGroupRows) * group_bytes;
    kernels::unpack_group(packed_type(), packed, packed_cols(), group.data());
  }
  std::copy_n(group.data() + lane * packed_cols(), cols(), out);
}

const CpuMatrix& CpuMatrix::transposed_head(int head, int head_dim, ThreadPool& pool, Interrupt* interrupt) const {
  if (transposed_heads_.empty()) transposed_heads_.resize(static_cast<size_t>(rows() / head_dim));
  std::unique_ptr<CpuMatrix>& found = transposed_heads_[static_cast<size_t>(head)];
  if (found == nullptr) {
    const bool as_half = is_quantized(packed_type()) || packed_type() == DataType::kF16;
    const DataType type = as_half ? DataType::kF16 : DataType::kF32;
    const size_t value_bytes = row_bytes(type, 1);
    auto turned = std::make_shared<Buffer>(static_cast<size_t>(cols() * head_dim) * value_bytes);
    std::vector<float> row(static_cast<size_t>(cols())), group;
    for (int64_t d = 0; d < head_dim; ++d) {
      unpack_row(int64_t{head} * head_dim + d, group, row.data());
      std::byte* out = turned->data() + static_cast<size_t>(d) * value_bytes;
      for (const float value : row) {
        const uint16_t half = as_half ? float_to_half(value) : uint16_t{0};
        std::memcpy(out, as_half ? static_cast<const void*>(&half) : &value, value_bytes);
        out += static_cast<size_t>(head_dim) * value_bytes;
      }
    }
    const std::span<const std::byte> bytes{turned->data(), turned->size_bytes()};
    found = std::make_unique<CpuMatrix>(
        WeightView{.type = type, .rows = cols(), .cols = head_dim, .bytes = bytes, .copy = std::move(turned)}, arena_);
  }
  found->pack(pool, interrupt);
  return *found;
}

}  // namespace t5g
