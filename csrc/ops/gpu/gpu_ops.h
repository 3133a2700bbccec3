// The one GPU backend: every op becomes a few launches of kernels/gpu/. It knows shapes and addresses; what a kernel
// computes stands in kernels/gpu/args.h, how a device runs it in driver.h.
//
// A row's result must not depend on the rows beside it. So which kernel computes a product or an attention depends on
// the weight's type and on the kind of the pass, and on nothing else. A pass of the decoder has sequences that grow
// page by page; all others, over whole sources and images, have keys in runs or rows that are no tokens.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/gpu/args.h"
#include "ops/gpu/gpu_device.h"
#include "ops/gpu/kv_pool.h"
#include "ops/gpu/weights.h"
#include "ops/ops.h"

namespace t5g::gpu {

// inv_freq [head_dim / 2], copied to the device by the first rope().
class GpuRotary final : public Rotary {
 public:
  explicit GpuRotary(const RotarySpec& spec);
  int head_dim() const { return head_dim_; }
  Address inv_freq(Queue& queue) const;

 private:
  const int head_dim_;
  std::vector<float> host_;
  mutable std::unique_ptr<Memory::Block> memory_;
};

class GpuLatent;  // latent.h

class GpuOps final : public Ops {
 public:
  // The device must outlive the ops. has_fragments: kernels may use them (see probe.h); without, what needs them goes a
  // slower way.
  GpuOps(GpuDevice& device, bool has_fragments);
  ~GpuOps() override;

  int64_t block_rows() const override { return gpu::block_rows(queue_.driver()); }
  std::unique_ptr<Matrix> load(const WeightView& weight) override;
  std::unique_ptr<Table> load_table(const WeightView& weight) override;
  std::unique_ptr<Head> load_head(const WeightView& weight) override;
  std::unique_ptr<Rotary> load_rotary(const RotarySpec& spec) override;
  std::shared_ptr<KvPool> make_kv_pool(const KvFormat& format, int n_layers) override;
  void upload(const Batch& batch) override;
  void embed(const EmbeddingSpec& spec, BatchRows rows, Tensor out) override;
  using Ops::linear;
  void linear(Tensor x, std::span<const t5g::Projection> projections) override;
  void geglu_mlp(Tensor x, const t5g::Projection& gate, const t5g::Projection& up,
                 const t5g::Projection& down) override;
  void gelu_mlp(Tensor x, const t5g::Projection& fc1, const t5g::Projection& fc2) override;
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
  // Memory that launches leave results in for later ones, kept and grown.
  class Scratch {
   public:
    Address of(Queue& queue, size_t size_bytes);

   private:
    std::unique_ptr<Memory::Block> memory_;
  };

  // x of rows m and columns k through matrices, at most kMaxProjections of them.
  struct Product {
    const StoredWeight* weight;
    Address out;
    Address bias = 0;
    bool add = false;
  };
  static size_t together(std::span<const Product> products);
  static u32 project(std::span<const Product> products, u32 tile_cols, gpu::Projection* projections);
  void multiply(Address x, int64_t m, int64_t k, std::span<const Product> products);
  void multiply_whole(Address x, int64_t m, int64_t k, std::span<const Product> products);
  void multiply_decoding(Address x, int64_t m, int64_t k, std::span<const Product> products);
  // how: as the layer itself is multiplied.
  using Multiply = void (GpuOps::*)(Address x, int64_t m, int64_t k, std::span<const Product> products);
  void add_low_rank(Address x, const LowRankProduct& product, Address out, Multiply how);
  // out [m, n] = x [m, k] times rows [first, first + n) of a weight, by a decoder's kernel.
  void multiply_rows(const f32* x, int64_t m, const StoredWeight& weight, int64_t first, int64_t n, f32* out);
  void norm(KernelId kernel, const NormArgs& args);
  void element(KernelId kernel, Address a, Address b, int64_t rows, int64_t cols, float cap = 0);
  void move(KernelId kernel, Tensor x, std::span<const int32_t> rows, Tensor out);
  // Parts of keys that a row of the batch can have, at most.
  int64_t max_parts(const AttentionSpec& spec, int64_t part_keys, int64_t tile_rows) const;
  void make_tiles(int64_t first, int64_t n, int64_t tile_rows);
  // Whether any of the rows of the batch sees a latent source.
  bool looks_at_latents(const AttentionSpec& spec, int64_t first, int64_t n) const;
  void attend_to_latents(const AttentionArgs& own, const AttentionSpec& spec);
  void attend_to_latent(const GpuLatent& latent, const AttentionArgs& own, const AttentionSpec& spec, int64_t first,
                        int64_t n);

  void find_best(Address x, int64_t m, int64_t k, const StoredWeight& head, float softcap, const SelectArgs& select);
  // Of one block of rows of select(), with all its memory kept.
  class Answers;
  void select_some(Tensor x, const Head& head, std::span<const LowRankProduct> products, float softcap,
                   std::span<Selection* const> selections);

  GpuDevice& device_;
  Queue& queue_;
  const bool has_fragments_;

  // Of the batch uploaded last: where it is, and what bounds its attention.
  BatchView batch_{};
  Address ids_ = 0;
  bool is_decoding_ = true;                // a pass of the decoder
  int64_t max_self_ = 0, max_source_ = 0;  // tokens
  std::vector<Address> pages_;             // of upload(), as the next one
  std::vector<Sequence> sequences_;
  std::vector<const GpuLatent*> latents_;  // of each sequence's source, or null

  // Of the last rows that attention was asked for, and where they are: the same in every layer.
  std::vector<AttentionTile> tiles_;
  Address tiles_at_ = 0;
  uint64_t tiles_epoch_ = 0;
  int64_t tiles_first_ = 0, tiles_rows_ = 0, tile_rows_ = 0;
  bool tiles_are_split_ = false;  // rows of one sequence are in several

  // Pixels of the image that is read.
  Scratch pixels_;
  std::span<const uint8_t> pixels_of_;

  Scratch attention_parts_, latent_looks_, low_rank_, logits_, answers_memory_;
  const std::unique_ptr<Answers> answers_;
};

}  // namespace t5g::gpu
