// What a model may say to a device. The model's code is written once against this interface; each device has one
// backend.
//
// An Ops object keeps scratch memory and is used by one forward pass at a time (the runtime sees to that). Tensors are
// f32, row-major; letters of shapes are those of docs/notation.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>

#include "base/thread_pool.h"
#include "ops/rotary.h"
#include "quant/types.h"
#include "tensor/tensor.h"
#include "tensor/weight.h"

namespace t5g {

// Tokens of one chunk of cached keys and values: the unit in which caches grow, are shared and are attended to.
inline constexpr int64_t kKvChunk = 64;

// A weight matrix [rows, cols] in the form the backend wants, made on first use.
class Matrix {
 public:
  explicit Matrix(const WeightView& weight) : weight_(weight) {}
  virtual ~Matrix() = default;
  int64_t rows() const { return weight_.rows; }
  int64_t cols() const { return weight_.cols; }
  const WeightView& weight() const { return weight_; }

 protected:
  // Drops the copy of the file's bytes, if there is one and nobody embeds its rows: the backend has its own form now.
  void drop_copy() const {
    if (weight_.copy == nullptr || weight_.is_table) return;
    weight_.bytes = {};
    weight_.copy.reset();
  }
  mutable WeightView weight_;
};

// One linear layer applied to an input shared with others: out = x W^T + bias, or out += that.
struct Projection {
  const Matrix* weight;
  Tensor out;                   // [rows of x, weight.rows()]
  const float* bias = nullptr;  // [weight.rows()], or none
  bool add = false;
};

// The largest logit of a row, asked for without a wish for the others.
struct BestQuery {
  std::span<const int32_t> apart;  // ids whose own logits are asked for, ascending and without repeats
  float* apart_logits = nullptr;   // out [apart.size()]
  int64_t best = -1;               // out: the id of the largest logit of all others, the first among equals;
  float best_logit = 0;            //      -1 where none is above -infinity
};

// Which keys a query at position i sees among its own sequence's: those at j with i - before <= j <= i + after.
struct Window {
  static constexpr int64_t kUnlimited = std::numeric_limits<int32_t>::max();
  int64_t before = kUnlimited;
  int64_t after = kUnlimited;
};

// How the keys and values of one layer are stored. F32, F16, Q8_0: as such, everything is computed in f32. BF16:
// queries and probabilities are rounded to bfloat16 too, and products are summed in f32 by the device's bfloat16 dot
// product.
struct KvFormat {
  DataType type;
  int n_kv_heads;  // K
  int head_dim;    // Dh
};

// Keys and values of one layer for one sequence: chunk c of kKvChunk tokens begins at pages[c] + offset.
// Its contents are the backend's own; kv_chunk_bytes() says how long one chunk of one layer is.
struct KvView {
  std::span<std::byte* const> pages;
  int64_t offset = 0;  // bytes
  int64_t length = 0;  // tokens that are filled
  std::byte* chunk(int64_t c) const { return pages[static_cast<size_t>(c)] + offset; }
};

struct AttentionSpec {
  int n_heads;    // H
  KvFormat kv;    // of `self` and `source`
  float scale;    // of the scores
  float softcap;  // c * tanh(score / c); 0 = none
  Window window;  // on the `self` keys; `source` keys are always visible
};

// The rows of one sequence in a batch of queries, and what they see: one softmax over both parts.
struct AttentionInput {
  int64_t first_row;  // its queries are rows [first_row, first_row + n_rows)
  int64_t n_rows;
  int64_t first_position;  // of the first query among the `self` keys
  KvView self;             // length 0: none
  KvView source;           // length 0: none
};

// How a picture of 8-bit values is cut into patches: each becomes one row, ordered (channel, row, column).
struct PatchSpec {
  int image_size;  // pixels of a side
  int patch_size;
  float mean[3];  // of each channel, values being in [0, 1]
  float std[3];
  int64_t patches_per_side() const { return image_size / patch_size; }
};

class Ops {
 public:
  virtual ~Ops() = default;

  virtual std::unique_ptr<Matrix> load(const WeightView& weight) = 0;
  // A matrix for head() and best_of_head() alone; its rows may be embedded too.
  virtual std::unique_ptr<Matrix> load_head(const WeightView& weight) = 0;

  // out[i] = scale * table[ids[i]]; ids are within the table.
  virtual void embed(const Matrix& table, std::span<const int32_t> ids, float scale, Tensor out) = 0;
  // Several linear layers of one input in one pass.
  virtual void linear(Tensor x, std::initializer_list<Projection> projections) = 0;
  // The feed-forward layers: down applied to gelu_tanh(gate) * up, fc2 applied to gelu_tanh(fc1). What is written to
  // gate.out, up.out and fc1.out, if anything, is the backend's own.
  virtual void geglu_mlp(Tensor x, const Projection& gate, const Projection& up, const Projection& down) = 0;
  virtual void gelu_mlp(Tensor x, const Projection& fc1, const Projection& fc2) = 0;
  // out = x / rms(x) * weight, row by row; weight [cols] already includes the reference's +1.
  virtual void rms_norm(Tensor x, const float* weight, float eps, Tensor out) = 0;
  // The same over each head of x [rows, n_heads * head_dim], in place.
  virtual void rms_norm_heads(Tensor x, const float* weight, float eps, int head_dim) = 0;
  // x += rms_norm(a).
  virtual void add_rms_norm(Tensor x, Tensor a, const float* weight, float eps) = 0;
  // out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, row by row.
  virtual void layer_norm(Tensor x, const float* weight, const float* bias, float eps, Tensor out) = 0;
  // Rotates every head of row i by its position's angles, in place.
  virtual void rope(Tensor x, std::span<const int32_t> positions, const RotaryTable& table) = 0;
  // x += a, which has the shape of x.
  virtual void add(Tensor x, const float* a) = 0;
  // out = patches [first, first + out.rows) of pixels [image_size, image_size, 3], normalised.
  virtual void patches(const uint8_t* pixels, const PatchSpec& spec, int64_t first, Tensor out) = 0;
  // The rows of x are a square grid; out: the means of its windows of window x window, row by row.
  virtual void mean_pool(Tensor x, int64_t window, Tensor out) = 0;
  // x = cap * tanh(x / cap).
  virtual void softcap(Tensor x, float cap) = 0;

  // Bytes that one chunk of one layer's keys and values takes, a multiple of 64.
  virtual int64_t kv_chunk_bytes(const KvFormat& format) const = 0;
  // Stores rows of k and v [n, K * Dh] as the tokens [position, position + n) of the view, whose pages are there.
  virtual void store_kv(Tensor k, Tensor v, const KvFormat& format, const KvView& view, int64_t position) = 0;
  // out [rows, H * Dh] = softmax(scale * q k^T + mask) v for every sequence of the batch.
  virtual void attention(Tensor q, const AttentionSpec& spec, std::span<const AttentionInput> inputs, Tensor out) = 0;

  // logits = x W^T.
  virtual void head(Tensor x, const Matrix& weight, Tensor logits) = 0;
  // Answers queries[i] about row i of x W^T, softcapped where softcap > 0: the same bits as head() and softcap() give.
  // False, with nothing answered, where computing all logits is the better way.
  virtual bool best_of_head(Tensor x, const Matrix& weight, float softcap, std::span<BestQuery> queries) = 0;

  // Index of the largest value of a row, and log(sum(exp(row))).
  virtual int64_t argmax(Tensor row) = 0;
  virtual float log_sum_exp(Tensor row) = 0;

  // Asked during long loops; a call throws Cancelled when it says so. nullptr: never.
  virtual void set_interrupt(Interrupt* interrupt) = 0;
};

// The backends. Each throws Unsupported, saying what to do, where this build or machine lacks it.
std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool);
std::unique_ptr<Ops> make_cuda_ops();
std::unique_ptr<Ops> make_metal_ops();

}  // namespace t5g
