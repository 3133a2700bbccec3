// The activations of one block of rows, by name, and the angles of positions: everything that a forward pass writes to
// besides what it is given.
#pragma once

#include <cstdint>
#include <memory>

#include "model/config.h"
#include "ops/backends.h"

namespace t5g {

class Workspace {
 public:
  // Buffers for blocks of up to Ops::block_rows() rows of this side: long sources are worked through block by block, so
  // that memory beyond the hidden states does not grow with S.
  Workspace(const TextConfig& config, const Backend& backend);

  // The named buffers, as tensors of `rows` rows.
  Tensor hidden(int64_t rows) const { return hidden_.view(rows); }      // [rows, D]: normed input of a sub-block
  Tensor output(int64_t rows) const { return output_.view(rows); }      // [rows, D]: its result
  Tensor queries(int64_t rows) const { return queries_.view(rows); }    // [rows, H * Dh]
  Tensor keys(int64_t rows) const { return keys_.view(rows); }          // [rows, K * Dh]
  Tensor values(int64_t rows) const { return values_.view(rows); }      // [rows, K * Dh]
  Tensor attended(int64_t rows) const { return attended_.view(rows); }  // [rows, H * Dh]
  Tensor gate(int64_t rows) const { return gate_.view(rows); }          // [rows, F]
  Tensor up(int64_t rows) const { return up_.view(rows); }              // [rows, F]

  const Rotary& rotary(LayerType type) const { return type == LayerType::kFullAttention ? *full_ : *sliding_; }

  static int64_t size_bytes(const TextConfig& config, int64_t block_rows);

 private:
  Floats hidden_, output_, queries_, keys_, values_, attended_, gate_, up_;
  std::unique_ptr<Rotary> sliding_, full_;
};

}  // namespace t5g
