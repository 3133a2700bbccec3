// The CPU backend: every op is a loop over independent items on the thread pool, each item one call of a kernel.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cpu/kernels.h"
#include "ops/cpu/cpu_device.h"
#include "ops/cpu/cpu_kv_pool.h"
#include "ops/cpu/cpu_latent.h"
#include "ops/cpu/head_search.h"
#include "ops/cpu/host.h"
#include "ops/ops.h"
#include "tensor/arena.h"
#include "tensor/buffer.h"

namespace t5g {

// A weight packed for the kernels on first use.
class CpuMatrix final : public Matrix {
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

  // Each head's part [head_dim, cols] the other way round, [cols, head_dim]: made when it is first asked for, in f16
  // where the matrix itself is rounded further. After pack().
  const CpuMatrix& transposed_head(int head, int head_dim, ThreadPool& pool, Interrupt* interrupt) const;

 private:
  size_t packed_bytes() const;
  void pack_groups(int64_t begin, int64_t end) const;
  // group: kept from row to row of the same one.
  void unpack_row(int64_t i, std::vector<float>& group, float* out) const;

  Arena& arena_;
  mutable std::byte* packed_ = nullptr;
  mutable bool is_packed_ = false;  // false after an interruption too
  mutable std::vector<std::unique_ptr<CpuMatrix>> transposed_heads_;
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

// A Projection, opened.
struct Product {
  const CpuMatrix* weight;
  HostTensor out;
  const float* bias = nullptr;
  bool add = false;
};

// One input of matrix products, in the forms that the types of weights want; forms that none wants are null.
struct MatmulInput {
  int64_t rows;
  const float* floats;
  const uint16_t* bf16;
  kernels::QuantizedRows quantized;
};

// A matrix, or one that suits that is split into planes.
class CpuHead final : public Head {
 public:
  CpuHead(const WeightView& weight, Arena& arena);
  // The one it is; the other is null.
  const CpuMatrix* matrix() const { return matrix_.get(); }
  const PlaneMatrix* planes() const { return planes_.get(); }

 private:
  std::unique_ptr<CpuMatrix> matrix_;
  std::unique_ptr<PlaneMatrix> planes_;
};

// Rows of one sequence among those of an op, and where what they see lies.
struct AttentionInput {
  int64_t first_row;  // its queries are rows [first_row, first_row + n_rows) of the op's tensors
  int64_t n_rows;
  int64_t first_position;  // of the first query among the `self` keys
  HostKv self;             // length 0: none
  HostKv source;           // length 0: none
};

// Some queries of one sequence, seen by the query heads that share one key/value head; and the parts they look at
// (see attention.cc).
struct AttentionBlock {
  const AttentionInput* input;
  int kv_head;
  int64_t first;  // first query, counted within the input
  int rows;       // queries times the query heads of the key/value head
  int64_t self_begin;
  int64_t n_self;    // parts [self_begin, self_begin + n_self) of the sequence's own keys
  int64_t n_source;  // parts of the source's keys, of `source_units` units each
  int64_t source_units;
  int64_t first_part;  // parts of all blocks before this one
  int64_t n_parts() const { return n_self + n_source; }
};

// Rows of an op that look at one latent source: of one sequence, or of several that share it.
struct LatentInput {
  const CpuLatent* latent;
  int64_t first_row;
  int64_t n_rows;
};

class Attention;  // attention.cc

class CpuOps final : public Ops {
 public:
  // The device must outlive the ops.
  explicit CpuOps(CpuDevice& device, const kernels::KernelTable& kernels = kernels::active())
      : device_(device), pool_(device.pool()), kernels_(kernels), search_(pool_, kernels_) {}

  int64_t block_rows() const override { return kBlockRows; }
  std::unique_ptr<Matrix> load(const WeightView& weight) override;
  std::unique_ptr<Table> load_table(const WeightView& weight) override;
  std::unique_ptr<Head> load_head(const WeightView& weight) override;
  std::unique_ptr<Rotary> load_rotary(const RotarySpec& spec) override;
  std::shared_ptr<KvPool> make_kv_pool(const KvFormat& format, int n_layers) override;
  void upload(const Batch& batch) override;
  void embed(const EmbeddingSpec& spec, BatchRows rows, Tensor out) override;
  using Ops::linear;
  void linear(Tensor x, std::span<const Projection> projections) override;
  void geglu_mlp(Tensor x, const Projection& gate, const Projection& up, const Projection& down) override;
  void gelu_mlp(Tensor x, const Projection& fc1, const Projection& fc2) override;
  void rms_norm(Tensor x, Tensor weight, float eps, Tensor out) override;
  void rms_norm_heads(Tensor x, Tensor weight, float eps) override;
  void add_rms_norm(Tensor x, Tensor a, Tensor weight, float eps) override;
  void layer_norm(Tensor x, Tensor weight, Tensor bias, float eps, Tensor out) override;
  void rope(Tensor x, BatchRows rows, const Rotary& rotary) override;
  void add_rows(Tensor x, const Table& table, int64_t first) override;
  void gather_rows(Tensor x, std::span<const int32_t> rows, Tensor out) override;
  void scatter_rows(Tensor x, std::span<const int32_t> rows, Tensor out) override;
  void patches(std::span<const uint8_t> pixels, const PatchSpec& spec, int64_t first, Tensor out) override;
  void mean_pool(Tensor x, int64_t window, Tensor out) override;
  using Ops::store_kv;
  void store_kv(Tensor k, Tensor v, BatchRows rows, int layer, Scores scores) override;
  void attention(Tensor q, const AttentionSpec& spec, BatchRows rows, int layer, Tensor out) override;
  std::unique_ptr<Latent> load_latent(const LatentFormat& format, int64_t n, std::span<const std::byte> rows) override;
  void scale_latent(Latent& latent, Tensor k, int64_t first, int layer, float eps) override;
  std::unique_ptr<LowRank> load_low_rank(std::span<const float> a, std::span<const float> b, int64_t rank) override;
  void add_low_rank(Tensor x, std::span<const LowRankProduct> products) override;
  void geglu(Tensor gate, Tensor up) override;
  void bias_gelu(Tensor x, Tensor bias) override;
  void select_adapted(Tensor x, const Head& head, std::span<const LowRankProduct> products, float softcap,
                      std::span<Selection* const> selections) override;

 private:
  // Larger blocks would not make the matmuls faster, only the buffers bigger.
  static constexpr int64_t kBlockRows = 256;

  Interrupt* interrupt() const { return device_.interrupt(); }
  void for_each_row(int64_t rows, int64_t values_per_row, FunctionRef<void(int64_t)> body);
  // Calls body(sequence, its place in located_, first row among `rows`, number of rows) for those that have rows there.
  template <typename Body>
  void for_each_sequence(BatchRows rows, Body body) const;
  void multiply(HostTensor x, std::span<const Product> products);
  void multiply(const MatmulInput& x, std::span<const Product> products);
  void attend(const Attention& attention);
  void add_latent_input(const CpuLatent* latent, int64_t first_row, int64_t n);
  // Attention of latent_inputs_ to their sources, merged into what `out` and own_sums_ have of their own keys.
  void attend_to_latents(HostTensor q, const AttentionSpec& spec, int layer, HostTensor out);
  void attend_to_latent(const LatentInput& input, HostTensor q, const AttentionSpec& spec, int layer, HostTensor out);
  void absorb_queries(const LatentWork& work, const CpuMatrix& k_proj);
  void take_values_back(const LatentWork& work, const CpuMatrix& v_proj);
  void multiply_quantized(int64_t rows, const kernels::QuantizedRows& x, const Projection& projection);
  // Panels of inner activations (see mlp.cc): activate() makes them of `n` columns of each layer's output.
  bool suits_panels(int64_t rows, std::initializer_list<const Matrix*> weights) const;
  kernels::QuantizedRows panels(HostTensor x, std::initializer_list<const CpuMatrix*> layers,
                                FunctionRef<void(float* row, int64_t column, int64_t n)> activate);
  // Rows of x padded with zeros to whole blocks.
  kernels::QuantizedRows quantize(HostTensor x);
  // Rows of x as bfloat16, padded with a zero to whole pairs.
  const uint16_t* round(HostTensor x);
  // logits [n, V] = x W^T.
  void all_logits(HostTensor x, const CpuHead& head, HostTensor logits);
  void add_low_rank(HostTensor x, const LowRankProduct& product, HostTensor out);
  bool add_together(HostTensor x, std::span<const LowRankProduct> products);
  bool search(HostTensor x, const CpuHead& head, float softcap, std::span<Selection* const> selections);

  CpuDevice& device_;
  ThreadPool& pool_;
  const kernels::KernelTable& kernels_;
  Arena packed_;  // weights
  // Where a sequence's own keys and values lie, and its source's.
  struct Located {
    HostKv self, source;
  };
  // Of the batch uploaded last: one for each sequence, and the addresses of all pages.
  std::vector<Located> located_;
  std::vector<std::byte*> page_addresses_;
  // Scratch, kept between calls so that a decode step allocates nothing.
  QuantizedActivations quantized_;
  QuantizedActivations inner_;     // those between the two layers of a feed-forward
  Buffer panels_;                  // of each thread
  Buffer rounded_;                 // activations as bfloat16
  std::vector<float> added_;       // of each thread, in add_rows()
  std::vector<Product> products_;  // of linear()
  HeadSearch search_;
  std::vector<BestQuery> queries_;
  Buffer logits_;    // of select()
  Buffer low_rank_;  // of add_low_rank()
  std::vector<AttentionInput> attention_inputs_;
  std::vector<AttentionBlock> attention_blocks_;
  Buffer attention_scratch_;  // scaled queries and partial results
  std::vector<LatentInput> latent_inputs_;
  std::vector<float> own_sums_;  // largest score and sum of weights of each row and head, where there are such inputs
  Buffer latent_scratch_;
};

// Every matrix that these ops are given was loaded by them.
inline const CpuMatrix& on_cpu(const Matrix& matrix) { return static_cast<const CpuMatrix&>(matrix); }

template <typename Body>
void CpuOps::for_each_sequence(BatchRows rows, Body body) const {
  const std::span<const Batch::Sequence> sequences = rows.batch->sequences();
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t begin = std::max(rows.first, sequences[i].first_row);
    const int64_t end = std::min(rows.first + rows.n, sequences[i].first_row + sequences[i].n_rows);
    if (begin < end) body(sequences[i], located_[i], begin, end - begin);
  }
}

}  // namespace t5g
