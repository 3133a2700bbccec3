// What a model may say to a device. The model's code is written once against this interface; each device has one
// backend. Ops are enqueued on the device (see ops/device.h), inside a Device::Lease.
//
// Tensors are f32, row-major; letters of shapes are those of docs/notation.md. What must outlive a call: weights and
// rotaries, as long as the ops object; the memory of tensors, and pixels, until the device was waited for. All else is
// read at once: lists of projections and rows, and the batch, which may be built anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>

#include "ops/batch.h"
#include "ops/kv_pool.h"
#include "ops/selection.h"
#include "tensor/tensor.h"
#include "tensor/weight.h"

namespace t5g {

// ---- Weights in the form that the backend wants, each made on first use --------------------------------------------

class LoadedWeight {
 public:
  explicit LoadedWeight(const WeightView& weight) : weight_(weight) {}
  virtual ~LoadedWeight() = default;
  LoadedWeight(const LoadedWeight&) = delete;
  LoadedWeight& operator=(const LoadedWeight&) = delete;
  int64_t rows() const { return weight_.rows; }
  int64_t cols() const { return weight_.cols; }
  const WeightView& weight() const { return weight_; }

 protected:
  // Drops the copy of the file's bytes, where this is one: the backend has its own form now.
  void drop_copy() const {
    if (weight_.copy == nullptr) return;
    weight_.bytes = {};
    weight_.copy.reset();
  }
  mutable WeightView weight_;
};

// A matrix [rows, cols] to multiply with.
class Matrix : public LoadedWeight {
  using LoadedWeight::LoadedWeight;
};

// A table whose rows are looked up.
class Table : public LoadedWeight {
  using LoadedWeight::LoadedWeight;
};

// The output head [V, D], whose outputs are asked for in part.
class Head : public LoadedWeight {
  using LoadedWeight::LoadedWeight;
};

// What an adapter adds to the product of a matrix: that of B A, with A [rank, cols] and B [rows, rank].
class LowRank {
 public:
  LowRank(int64_t rows, int64_t cols, int64_t rank) : rows_(rows), cols_(cols), rank_(rank) {}
  virtual ~LowRank() = default;
  LowRank(const LowRank&) = delete;
  LowRank& operator=(const LowRank&) = delete;
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t rank() const { return rank_; }

 private:
  const int64_t rows_, cols_, rank_;
};

// The angles of rotary position embeddings. inv_freq[i] = theta^(-2i / head_dim) / factor.
struct RotarySpec {
  int head_dim;
  double theta;
  double factor;
};
class Rotary {
 public:
  virtual ~Rotary() = default;
};

// ---- What ops are told ----------------------------------------------------------------------------------------------

// One linear layer applied to an input shared with others: out = x W^T + bias, or out += that.
struct Projection {
  const Matrix* weight;
  Tensor out;        // [rows of x, weight.rows()]
  Tensor bias = {};  // [1, weight.rows()], or none
  bool add = false;
};

// Rows [first, first + n) of out += scale * x A^T B^T of the same rows of x.
struct LowRankProduct {
  const LowRank* weight;
  float scale;
  int64_t first;
  int64_t n;
  Tensor out;  // [rows of x, weight->rows()]
};

// How tokens become vectors: scale * table[id]; but the token `special_id` has a vector of its own, used as it is.
struct EmbeddingSpec {
  const Table* table;
  float scale;
  int32_t special_id = -1;  // -1: none
  Tensor special = {};      // [1, D]
};

// Which keys a query at position i sees among its own sequence's: those at j with i - before <= j <= i + after.
struct Window {
  static constexpr int64_t kUnlimited = std::numeric_limits<int32_t>::max();
  int64_t before = kUnlimited;
  int64_t after = kUnlimited;
};

// Which keys a query looks at: one softmax over all of them.
enum class Segments : uint8_t { kSelf, kSource, kBoth };

// The projections that keys and values of a layer would be made with, for sequences whose source is a Latent: its
// scores are scale_t (k_proj^T (k_norm * q)) . h_t, with the scales that scale_latent() stores, and its part of the
// result is v_proj (sum of weight_t h_t).
struct LatentProjections {
  const Matrix* k_proj = nullptr;  // [K * Dh, D of the encoder]
  const Matrix* v_proj = nullptr;
  Tensor k_norm = {};  // [1, Dh], or none: then all scales are 1
};

// How exact products of queries and keys have to be: as the type of the keys has it, or, where a sequence has more than
// kManyKeys of its own, as coarse as makes a device faster. A sequence's
// length is on the same side of that whenever its keys are stored or looked at.
enum class Scores : uint8_t { kOfKeys, kCoarseOfMany };
inline constexpr int64_t kManyKeys = 4096;

struct AttentionSpec {
  int n_heads;    // H
  KvFormat kv;    // of the batch's pool
  float scale;    // of the scores
  float softcap;  // c * tanh(score / c); 0 = none
  Segments segments;
  Window window;  // on the sequence's own keys; those of the source are always visible
  LatentProjections latent = {};
  Scores scores = Scores::kOfKeys;
};

// How an image of 8-bit values is cut into patches: each becomes one row, ordered (channel, row, column).
struct PatchSpec {
  int image_size;  // pixels of a side
  int patch_size;
  float mean[3];  // of each channel, values being in [0, 1]
  float std[3];
  int64_t patches_per_side() const { return image_size / patch_size; }
};

// ---- The ops --------------------------------------------------------------------------------------------------------

class Ops {
 public:
  virtual ~Ops() = default;

  // Rows that a forward pass should take through a layer together: more would make nothing faster, only buffers bigger.
  // At least 32, a short step of the runtime.
  virtual int64_t block_rows() const = 0;

  virtual std::unique_ptr<Matrix> load(const WeightView& weight) = 0;
  virtual std::unique_ptr<Table> load_table(const WeightView& weight) = 0;
  virtual std::unique_ptr<Head> load_head(const WeightView& weight) = 0;
  virtual std::unique_ptr<Rotary> load_rotary(const RotarySpec& spec) = 0;

  // A pool for keys and values of so many layers.
  virtual std::shared_ptr<KvPool> make_kv_pool(const KvFormat& format, int n_layers) = 0;

  // Takes a batch to the device. Ops are only given rows of the batch that was uploaded last.
  virtual void upload(const Batch& batch) = 0;

  // out [n, D] = the rows' tokens as vectors.
  virtual void embed(const EmbeddingSpec& spec, BatchRows rows, Tensor out) = 0;
  // Several linear layers of one input in one pass.
  void linear(Tensor x, std::initializer_list<Projection> projections) {
    linear(x, std::span(projections.begin(), projections.size()));
  }
  virtual void linear(Tensor x, std::span<const Projection> projections) = 0;
  // The feed-forward layers: down applied to gelu_tanh(gate) * up, fc2 applied to gelu_tanh(fc1). What is written to
  // gate.out, up.out and fc1.out, if anything, is the backend's own.
  virtual void geglu_mlp(Tensor x, const Projection& gate, const Projection& up, const Projection& down) = 0;
  virtual void gelu_mlp(Tensor x, const Projection& fc1, const Projection& fc2) = 0;
  // out = x / rms(x) * weight, row by row; weight [1, cols] already includes the reference's +1.
  virtual void rms_norm(Tensor x, Tensor weight, float eps, Tensor out) = 0;
  // The same over each head of x [rows, n_heads * weight.cols], in place.
  virtual void rms_norm_heads(Tensor x, Tensor weight, float eps) = 0;
  // x += rms_norm(a).
  virtual void add_rms_norm(Tensor x, Tensor a, Tensor weight, float eps) = 0;
  // out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, row by row.
  virtual void layer_norm(Tensor x, Tensor weight, Tensor bias, float eps, Tensor out) = 0;
  // Rotates every head of each row by its position's angles, in place.
  virtual void rope(Tensor x, BatchRows rows, const Rotary& rotary) = 0;
  // x += rows [first, first + x.rows) of the table.
  virtual void add_rows(Tensor x, const Table& table, int64_t first) = 0;
  // out[i] = x[rows[i]], and out[rows[i]] = x[i]. The rows are read at once.
  virtual void gather_rows(Tensor x, std::span<const int32_t> rows, Tensor out) = 0;
  virtual void scatter_rows(Tensor x, std::span<const int32_t> rows, Tensor out) = 0;
  // out = patches [first, first + out.rows) of pixels [image_size, image_size, 3], normalised.
  virtual void patches(std::span<const uint8_t> pixels, const PatchSpec& spec, int64_t first, Tensor out) = 0;
  // The rows of x are a square grid; out: the means of its windows of window x window, row by row.
  virtual void mean_pool(Tensor x, int64_t window, Tensor out) = 0;

  // Stores k and v [n, K * Dh] as the rows' own keys and values in one layer of the batch's pool. scores: those of the
  // attention() that will read them.
  void store_kv(Tensor k, Tensor v, BatchRows rows, int layer) { store_kv(k, v, rows, layer, Scores::kOfKeys); }
  virtual void store_kv(Tensor k, Tensor v, BatchRows rows, int layer, Scores scores) = 0;
  // out [n, H * Dh] = softmax(scale * q k^T + mask) v, for every row over what its sequence can see in one layer.
  virtual void attention(Tensor q, const AttentionSpec& spec, BatchRows rows, int layer, Tensor out) = 0;

  // A latent source. rows: n of them, in the host's memory, which outlives the latent.
  virtual std::unique_ptr<Latent> load_latent(const LatentFormat& format, int64_t n,
                                              std::span<const std::byte> rows) = 0;
  // Stores 1 / rms of every head of k [n, K * Dh], keys of the rows from `first` on before their norm, in one layer.
  virtual void scale_latent(Latent& latent, Tensor k, int64_t first, int layer, float eps) = 0;

  // Answers selections[i] about row i of x W^T, softcapped where softcap > 0. Waits for everything enqueued before.
  virtual void select(Tensor x, const Head& head, float softcap, std::span<Selection* const> selections) {
    select_adapted(x, head, {}, softcap, selections);
  }

  // ---- Adapters

  // a [rank, cols], b [rows, rank].
  virtual std::unique_ptr<LowRank> load_low_rank(std::span<const float> a, std::span<const float> b, int64_t rank) = 0;
  // One after the other. A row gets the same bits whatever products the rows beside it get, and how many they are.
  virtual void add_low_rank(Tensor x, std::span<const LowRankProduct> products) = 0;
  // The middle of geglu_mlp() and gelu_mlp(), where an adapter takes part in one of their layers:
  // gate = gelu_tanh(gate) * up; x = gelu_tanh(x + bias). Rows get the bits that the whole would give them.
  virtual void geglu(Tensor gate, Tensor up) = 0;
  virtual void bias_gelu(Tensor x, Tensor bias) = 0;
  // As select(), with products added to the logits, whose `out` is not looked at.
  virtual void select_adapted(Tensor x, const Head& head, std::span<const LowRankProduct> products, float softcap,
                              std::span<Selection* const> selections) = 0;
};

}  // namespace t5g
