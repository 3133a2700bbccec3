// The activations of one block of rows, by name, and the rotary tables: everything that a forward pass writes to.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "ops/ops.h"
#include "tensor/buffer.h"

namespace t5g {

// Rows that go through a layer together. Larger blocks would not make the matmuls faster, only the buffers bigger:
// long sources are worked through block by block, so that memory beyond the hidden states does not grow with S.
inline constexpr int64_t kBlockRows = 256;

class Workspace {
 public:
  // Buffers for blocks of up to kBlockRows rows of this side.
  explicit Workspace(const TextConfig& config);

  // The named buffers, as tensors of `rows` rows.
  Tensor hidden(int64_t rows) const { return view(hidden_, rows, hidden_size_); }    // normed input of a sub-block
  Tensor output(int64_t rows) const { return view(output_, rows, hidden_size_); }    // its result
  Tensor queries(int64_t rows) const { return view(queries_, rows, q_width_); }      // [rows, H * Dh]
  Tensor keys(int64_t rows) const { return view(keys_, rows, kv_width_); }           // [rows, K * Dh]
  Tensor values(int64_t rows) const { return view(values_, rows, kv_width_); }       // [rows, K * Dh]
  Tensor attended(int64_t rows) const { return view(attended_, rows, q_width_); }    // [rows, H * Dh]
  Tensor gate(int64_t rows) const { return view(gate_, rows, intermediate_size_); }  // [rows, F]
  Tensor up(int64_t rows) const { return view(up_, rows, intermediate_size_); }      // [rows, F]

  // Per row and per sequence of the batch in hand; kept here so that a decode step allocates nothing.
  std::vector<int32_t> positions;
  std::vector<AttentionInput> inputs;

  // Makes positions [0, n) available in both tables.
  void reserve_positions(int64_t n);
  const RotaryTable& rotary(LayerType type) const { return type == LayerType::kFullAttention ? full_ : sliding_; }

 private:
  static Tensor view(const Buffer& buffer, int64_t rows, int64_t cols) { return {buffer.floats(), rows, cols}; }

  int64_t hidden_size_, intermediate_size_, q_width_, kv_width_;
  Buffer hidden_, output_, queries_, keys_, values_, attended_, gate_, up_;
  RotaryTable sliding_, full_;
};

}  // namespace t5g
