// The CPU backend: every op is a loop over independent items on the thread pool, each item one call of a kernel.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/cpu/kernels.h"
#include "ops/cpu/head_search.h"
#include "ops/ops.h"
#include "tensor/arena.h"
#include "tensor/buffer.h"

namespace t5g {

// A weight packed for the kernels on first use.
class CpuMatrix : public Matrix {
 public:
  // Takes its memory from the arena, which must outlive it.
  CpuMatrix(const WeightView& weight, Arena& arena);
  // Packs with the pool's help if that has not been done. Called by the one pass that holds the pool.
  void pack(ThreadPool& pool, Interrupt* interrupt) const;
  // After pack().
  const std::byte* packed() const { return packed_; }
  int64_t n_groups() const;
  // As packed, which differs from the file's where the weight is to be held as Q8_0.
  DataType packed_type() const;
  int64_t packed_cols() const;

 private:
  size_t packed_bytes() const;
  void pack_groups(int64_t begin, int64_t end) const;

  Arena& arena_;
  mutable std::byte* packed_ = nullptr;
  mutable bool is_packed_ = false;  // false after an interruption too
};

// Rows of activations as int8, with the scales and sums of their blocks. The memory is kept from use to use.
class QuantizedActivations {
 public:
  // For so many rows of k values, a multiple of kernels::kBlock.
  void reshape(int64_t rows, int64_t k);
  // Values [column, column + n) of a row; both are multiples of kernels::kBlock.
  void set(const kernels::KernelTable& kernels, int64_t row, int64_t column, const float* x, int64_t n);
  kernels::QuantizedRows rows() const { return {values_, scales_, sums_}; }

 private:
  Buffer buffer_;
  int64_t k_ = 0;
  int8_t* values_ = nullptr;
  float* scales_ = nullptr;
  int32_t* sums_ = nullptr;
};

// One input of matrix products, in the forms that the types of weights want; forms that none wants are null.
struct MatmulInput {
  int64_t rows;
  const float* floats;
  const uint16_t* bf16;
  kernels::QuantizedRows quantized;
};

// Some queries of one sequence, seen by the query heads that share one key/value head; and the parts they look at
// (see attention.cc).
struct AttentionBlock {
  const AttentionInput* input;
  int kv_head;
  int64_t first;  // first query, counted within the sequence
  int rows;       // queries times the query heads of the key/value head
  int64_t self_begin;
  int64_t n_self;      // parts [self_begin, self_begin + n_self) of the sequence's own keys
  int64_t n_source;    // parts of the source's keys
  int64_t first_part;  // parts of all blocks before this one
  int64_t n_parts() const { return n_self + n_source; }
};

class CpuOps final : public Ops {
 public:
  explicit CpuOps(ThreadPool& pool) : pool_(pool), kernels_(kernels::active()) {}

  std::unique_ptr<Matrix> load(const WeightView& weight) override;
  std::unique_ptr<Matrix> load_head(const WeightView& weight) override;
  void embed(const Matrix& table, std::span<const int32_t> ids, float scale, Tensor out) override;
  void linear(Tensor x, std::initializer_list<Projection> projections) override;
  void geglu_mlp(Tensor x, const Projection& gate, const Projection& up, const Projection& down) override;
  void gelu_mlp(Tensor x, const Projection& fc1, const Projection& fc2) override;
  void rms_norm(Tensor x, const float* weight, float eps, Tensor out) override;
  void rms_norm_heads(Tensor x, const float* weight, float eps, int head_dim) override;
  void add_rms_norm(Tensor x, Tensor a, const float* weight, float eps) override;
  void layer_norm(Tensor x, const float* weight, const float* bias, float eps, Tensor out) override;
  void rope(Tensor x, std::span<const int32_t> positions, const RotaryTable& table) override;
  void add(Tensor x, const float* a) override;
  void patches(const uint8_t* pixels, const PatchSpec& spec, int64_t first, Tensor out) override;
  void mean_pool(Tensor x, int64_t window, Tensor out) override;
  void softcap(Tensor x, float cap) override;
  int64_t kv_chunk_bytes(const KvFormat& format) const override;
  void store_kv(Tensor k, Tensor v, const KvFormat& format, const KvView& view, int64_t position) override;
  void attention(Tensor q, const AttentionSpec& spec, std::span<const AttentionInput> inputs, Tensor out) override;
  void head(Tensor x, const Matrix& weight, Tensor logits) override;
  bool best_of_head(Tensor x, const Matrix& weight, float softcap, std::span<BestQuery> queries) override;
  int64_t argmax(Tensor row) override { return kernels_.argmax(row.data, row.cols); }
  float log_sum_exp(Tensor row) override { return kernels_.log_sum_exp(row.data, row.cols); }
  void set_interrupt(Interrupt* interrupt) override { interrupt_ = interrupt; }

 private:
  void for_each_row(int64_t rows, int64_t values_per_row, FunctionRef<void(int64_t)> body);
  void multiply(const MatmulInput& x, std::initializer_list<Projection> projections);
  // Panels of inner activations (see mlp.cc): bend() makes them of `n` columns of each layer's output.
  bool suits_panels(int64_t rows, std::initializer_list<const Matrix*> weights) const;
  kernels::QuantizedRows panels(Tensor x, std::initializer_list<const Matrix*> layers,
                                FunctionRef<void(float* row, int64_t column, int64_t n)> bend);
  // Rows of x padded with zeros to whole blocks.
  kernels::QuantizedRows quantize(Tensor x);
  // Rows of x as bfloat16, padded with a zero to whole pairs.
  const uint16_t* round(Tensor x);

  ThreadPool& pool_;
  const kernels::KernelTable& kernels_;
  Interrupt* interrupt_ = nullptr;
  Arena packed_;  // weights
  // Scratch, kept between calls so that a decode step allocates nothing.
  QuantizedActivations quantized_;
  QuantizedActivations inner_;  // those between the two layers of a feed-forward
  Buffer panels_;               // of each thread
  Buffer rounded_;              // activations as bfloat16
  HeadSearch search_{pool_, kernels_};
  std::vector<AttentionBlock> attention_blocks_;
  Buffer attention_scratch_;  // scaled queries and partial results
};

}  // namespace t5g
