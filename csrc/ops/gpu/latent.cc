// Attention to latent sources (docs/design/latent-sources.md): four launches and a product for the rows of one source.
//
// The source is divided into parts as its length says, so that no bit depends on the rows that look at it together.
#include "ops/gpu/latent.h"

#include <algorithm>

#include "base/ceil_div.h"
#include "ops/gpu/gpu_ops.h"
#include "ops/source_parts.h"

namespace t5g::gpu {
namespace {

static_assert(static_cast<u32>(DataType::kF32) == 0 && static_cast<u32>(DataType::kF16) == 1 &&
              static_cast<u32>(DataType::kBF16) == 2 && static_cast<u32>(DataType::kQ8_0) == 3 &&
              static_cast<u32>(DataType::kQ5_1) == 4 && static_cast<u32>(DataType::kQ5_0) == 5 &&
              static_cast<u32>(DataType::kQ4_1) == 6 && static_cast<u32>(DataType::kQ4_0) == 7);

// Of what the looks of some rows leave behind.
constexpr int64_t kMaxScratchBytes = int64_t{64} << 20;

// What is computed for some looks, one after the other in memory.
struct LookFloats {
  int64_t absorbed, acc, state, means, values, total;

  LookFloats(int64_t looks, int64_t parts, int64_t width, int64_t head_dim) {
    const auto after = [](int64_t begin, int64_t floats) { return begin + (floats + 3) / 4 * 4; };
    absorbed = 0;
    acc = after(absorbed, looks * width);
    state = after(acc, parts * looks * width);
    means = after(state, 2 * parts * looks);
    values = after(means, looks * width);
    total = after(values, looks * head_dim);
  }
};

}  // namespace

std::unique_ptr<Latent> GpuOps::load_latent(const LatentFormat& format, int64_t n, std::span<const std::byte> rows) {
  auto latent = std::make_unique<GpuLatent>(queue_.memory(), format, n);
  queue_.write(rows, latent->rows());
  return latent;
}

void GpuOps::scale_latent(Latent& latent, Tensor k, int64_t first, int layer, float eps) {
  if (k.rows == 0) return;
  const auto& own = static_cast<const GpuLatent&>(latent);
  LatentScaleArgs args{};
  args.k = pointer_to<const f32>(address_of(k));
  args.scales = pointer_to<f32>(own.scales(layer));
  args.rows = static_cast<u32>(k.rows);
  args.first = static_cast<u32>(first);
  args.n = static_cast<u32>(own.n());
  args.kv_heads = static_cast<u32>(own.format().n_kv_heads);
  args.head_dim = static_cast<u32>(k.cols) / args.kv_heads;
  args.eps = eps;
  queue_.launch(KernelId::scale_latent, {groups(k.rows * args.kv_heads, kNormRows)}, args);
}

bool GpuOps::looks_at_latents(const AttentionSpec& spec, int64_t first, int64_t n) const {
  if (spec.segments == Segments::kSelf) return false;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const Sequence& s = sequences_[i];
    if (latents_[i] != nullptr && s.first_row < first + n && first < int64_t{s.first_row} + s.n_rows) return true;
  }
  return false;
}

// own: attention to the rows' own keys, in parts and merged.
void GpuOps::attend_to_latents(const AttentionArgs& own, const AttentionSpec& spec) {
  const int64_t end = int64_t{own.first_row} + own.rows;
  for (size_t i = 0; i < sequences_.size();) {
    const GpuLatent* const latent = latents_[i];
    const int64_t first = std::max<int64_t>(sequences_[i].first_row, own.first_row);
    int64_t last = first;
    // Sequences that share a source, beams for example, look at it together.
    for (; i < sequences_.size() && latents_[i] == latent; ++i)
      last = std::min<int64_t>(int64_t{sequences_[i].first_row} + sequences_[i].n_rows, end);
    if (latent == nullptr) continue;
    const int64_t parts = ceil_div(kv_chunks(latent->n()), source_part_chunks(kv_chunks(latent->n())));
    const LookFloats of_row(spec.n_heads, parts, latent->format().hidden_size, spec.kv.head_dim);
    const int64_t at_once = std::max<int64_t>(1, kMaxScratchBytes / (4 * of_row.total));
    for (int64_t row = first; row < last; row += at_once)
      attend_to_latent(*latent, own, spec, row - own.first_row, std::min(at_once, last - row));
  }
}

// Rows [first, first + n) of own.
void GpuOps::attend_to_latent(const GpuLatent& latent, const AttentionArgs& own, const AttentionSpec& spec,
                              int64_t first, int64_t n) {
  const int64_t heads = spec.n_heads, kv_heads = spec.kv.n_kv_heads, head_dim = spec.kv.head_dim, looks = n * heads;
  const int64_t width = latent.format().hidden_size, part_chunks = source_part_chunks(kv_chunks(latent.n()));
  const int64_t parts = ceil_div(kv_chunks(latent.n()), part_chunks), head_looks = looks / kv_heads;
  const LookFloats at(looks, parts, width, head_dim);
  f32* const scratch = pointer_to<f32>(latent_looks_.of(queue_, static_cast<size_t>(at.total) * sizeof(float)));

  const StoredWeight& k_proj = on_gpu(*spec.latent.k_proj);
  AbsorbArgs absorb{};
  absorb.k_proj = k_proj.weight();
  absorb.norm = pointer_to<const f32>(address_of(spec.latent.k_norm));
  absorb.q = own.q + first * heads * head_dim;
  absorb.absorbed = scratch + at.absorbed;
  absorb.type = static_cast<u32>(k_proj.type());
  absorb.has_norm = absorb.norm != nullptr ? 1 : 0;
  absorb.rows = static_cast<u32>(n);
  absorb.heads = own.heads;
  absorb.kv_heads = own.kv_heads;
  absorb.head_dim = own.head_dim;
  queue_.launch(KernelId::absorb, {groups(width, kAbsorbCols), groups(head_looks, kLatentLooks), own.kv_heads}, absorb);

  LatentArgs look{};
  look.absorbed = absorb.absorbed;
  look.states = pointer_to<const u8>(latent.rows());
  look.scales = pointer_to<const f32>(latent.scales(static_cast<int>(own.layer)));
  look.acc = scratch + at.acc;
  look.state = scratch + at.state;
  look.n = static_cast<u32>(latent.n());
  look.width = static_cast<u32>(width);
  look.row_bytes = static_cast<u32>(latent.row_bytes());
  look.has_scales = look.scales != nullptr ? 1 : 0;
  look.looks = static_cast<u32>(head_looks);
  look.kv_heads = own.kv_heads;
  look.part_chunks = static_cast<u32>(part_chunks);
  look.scale = own.scale;
  look.softcap = own.softcap;
  queue_.launch(latent_attention_for(latent.format().type),
                {groups(head_looks, kLatentLooks), own.kv_heads, static_cast<uint32_t>(parts)}, look);

  const AttentionMergeArgs merge{look.acc, look.state, scratch + at.means,     static_cast<u32>(looks),
                                 1,        look.width, static_cast<u32>(parts)};
  queue_.launch(KernelId::attention_merge, {groups(looks, kMergeHeads)}, merge);
  for (int64_t head = 0; head < kv_heads; ++head) {
    multiply_rows(merge.out + head * head_looks * width, head_looks, on_gpu(*spec.latent.v_proj), head * head_dim,
                  head_dim, scratch + at.values + head * head_looks * head_dim);
  }

  LatentCombineArgs combine{};
  combine.own_state = own.state;
  combine.state = look.state;
  combine.values = scratch + at.values;
  combine.out = own.out + first * heads * head_dim;
  combine.own_parts = own.parts;
  combine.own_rows = own.rows;
  combine.own_first = static_cast<u32>(first);
  combine.parts = static_cast<u32>(parts);
  combine.rows = absorb.rows;
  combine.heads = own.heads;
  combine.kv_heads = own.kv_heads;
  combine.head_dim = own.head_dim;
  queue_.launch(KernelId::latent_combine, {static_cast<uint32_t>(looks)}, combine);
}

}  // namespace t5g::gpu
