// A latent source on the CPU: the host's own rows, and the scales of the decoder's keys; and what attention to it works
// with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/cpu/host.h"
#include "ops/kv_pool.h"
#include "ops/latent.h"
#include "tensor/buffer.h"
#include "tensor/state_rows.h"

namespace t5g {

class CpuLatent final : public Latent {
 public:
  CpuLatent(const LatentFormat& format, int64_t n, std::span<const std::byte> rows)
      : format_(format),
        n_(n),
        rows_(rows),
        row_bytes_(state_row_bytes(format.type, format.hidden_size)),
        scales_(static_cast<size_t>(format.n_layers * format.n_kv_heads * n) * sizeof(float)) {}

  const LatentFormat& format() const { return format_; }
  int64_t n() const { return n_; }
  size_t row_bytes() const { return row_bytes_; }
  const std::byte* row(int64_t i) const { return rows_.data() + static_cast<size_t>(i) * row_bytes_; }
  // [n], of one head of one layer; null where there are none.
  float* scales(int layer, int kv_head) const {
    if (format_.n_kv_heads == 0) return nullptr;
    return scales_.floats() + (layer * format_.n_kv_heads + kv_head) * n_;
  }

 private:
  const LatentFormat format_;
  const int64_t n_;
  const std::span<const std::byte> rows_;
  const size_t row_bytes_;
  const Buffer scales_;
};

inline constexpr int kLatentBlockRows = 64;  // rows (queries times heads) that pass by a chunk together

// Queries of one input, row after row: all of the first key/value head, then those of the next.
struct LatentQueries {
  int64_t first_row;  // of the op
  int64_t n;
  int n_heads, n_kv_heads, head_dim;

  int group() const { return n_heads / n_kv_heads; }
  int64_t rows() const { return n * n_heads; }
  int64_t rows_of_head() const { return n * group(); }  // of a key/value head
  int kv_head(int64_t row) const { return static_cast<int>(row / rows_of_head()); }
  int64_t query(int64_t row) const { return row % rows_of_head() / group(); }
  int head(int64_t row) const { return kv_head(row) * group() + static_cast<int>(row % group()); }
  float* in(HostTensor tensor, int64_t row) const { return tensor.row(first_row + query(row)) + head(row) * head_dim; }
};

// What is done with some queries, each array by rows.
struct LatentWork {
  LatentQueries queries;
  const CpuLatent* latent;
  int layer;
  int64_t stride;     // floats of a row in the encoder's space
  float* scaled;      // [rows, Dh]
  float* absorbed;    // [rows, stride]
  float* max;         // [rows]
  float* sum;         // [rows]
  float* acc;         // [rows, stride]
  float* means;       // [rows, D of the encoder]
  float* values;      // [rows, K * Dh], of which a row has those of its own head
  float* per_thread;  // 2 * kLatentBlockRows rows of stride
  float* partials;

  int64_t n_blocks() const { return (queries.rows() + kLatentBlockRows - 1) / kLatentBlockRows; }
  int rows_of(int64_t block) const {
    return static_cast<int>(std::min<int64_t>(kLatentBlockRows, queries.rows() - block * kLatentBlockRows));
  }
  int64_t n_chunks() const { return kv_chunks(latent->n()); }
};

}  // namespace t5g
