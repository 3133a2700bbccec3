// One case for each kernel that a pass of the decoder has.
#include "ops/gpu/touches.h"

#include <cassert>

namespace t5g::gpu {
// Notes touches of the pointers in `args`.
template <typename Args>
class Touches::Adder {
 public:
  Adder(Touches& to, const Launch& launch) : to_(to), args(launch.args<Args>()) {}
  template <typename Pointer>
  void add(const Pointer& pointer, size_t floats, bool reads, bool writes) {
    const auto at = reinterpret_cast<const std::byte*>(&pointer) - reinterpret_cast<const std::byte*>(&args);
    assert(to_.n_ < to_.all_.size());
    to_.all_[to_.n_++] = {static_cast<size_t>(at), reinterpret_cast<Address>(pointer), 4 * floats, reads, writes};
  }
  template <typename Pointer>
  void reads(const Pointer& pointer, size_t floats) {
    add(pointer, floats, true, false);
  }
  template <typename Pointer>
  void writes(const Pointer& pointer, size_t floats) {
    add(pointer, floats, false, true);
  }
  template <typename Pointer>
  void changes(const Pointer& pointer, size_t floats) {
    add(pointer, floats, true, true);
  }

 private:
  Touches& to_;

 public:
  const Args args;
};

Touches::Touches(const Launch& launch, size_t max_rows) {
  const KernelId kernel = launch.kernel;
  const auto project = [](auto& a, std::span<const Projection> projections, size_t m) {
    for (const Projection& p : projections) a.add(p.out, m * p.weight.n, (p.flags & kAddsOut) != 0, true);
  };
  const auto attend = [](auto& a, const AttentionArgs& args) {
    const size_t heads = size_t{args.rows} * args.heads, size = heads * args.head_dim;
    a.reads(args.q, size);
    if (args.parts == 1) a.writes(args.out, size);
    if (args.parts > 1) a.writes(args.acc, size * args.parts);
    if (args.parts > 1) a.writes(args.state, 2 * heads * args.parts);
  };
  if (is_matmul(kernel)) {
    Adder<LinearArgs> a(*this, launch);
    a.reads(a.args.x, size_t{a.args.m} * a.args.k);
    project(a, std::span(a.args.projections).first(a.args.n_projections), a.args.m);
  } else if (is_matvec(kernel)) {
    Adder<MatvecArgs> a(*this, launch);
    const MatvecInput& in = a.args.input;
    const size_t size = size_t{a.args.m} * a.args.k;
    a.reads(in.x, size * (in.kind == kFromParts ? in.parts : 1));
    if (in.kind == kFromSum) a.reads(in.added, size);
    if (in.kind == kFromParts) a.reads(in.added, 2 * size / in.head_dim * in.parts);
    if (in.kind == kFromSum) a.writes(in.x_out, size);
    if (a.args.finish == kBest) {
      a.writes(a.args.found, 2 * size_t{a.args.m} * a.args.groups);
    } else {
      const size_t n = a.args.finish == kGeglu ? 1 : a.args.n_projections;
      project(a, std::span(a.args.projections).first(n), a.args.m);
    }
  } else if (is_embed(kernel)) {
    Adder<TableArgs> a(*this, launch);
    a.writes(a.args.out, size_t{launch.grid.x} * a.args.table.k);
  } else if (kernel == KernelId::gather_rows || kernel == KernelId::scatter_rows) {
    Adder<MoveArgs> a(*this, launch);
    const size_t listed = size_t{launch.grid.x} * a.args.cols, most = max_rows * a.args.cols;
    const bool gathers = kernel == KernelId::gather_rows;
    a.reads(a.args.x, gathers ? most : listed);
    if (gathers) {
      a.writes(a.args.out, listed);
    } else {
      a.changes(a.args.out, most);  // the other rows stay
    }
  } else if (kernel == KernelId::rms_norm || kernel == KernelId::add_rms_norm || kernel == KernelId::layer_norm) {
    Adder<NormArgs> a(*this, launch);
    const size_t size = size_t{a.args.rows} * a.args.cols;
    a.reads(a.args.x, size);
    a.add(a.args.out, size, kernel == KernelId::add_rms_norm, true);
  } else if (kernel == KernelId::rope) {
    Adder<RopeArgs> a(*this, launch);
    a.changes(a.args.x, size_t{launch.grid.x} * a.args.heads * a.args.head_dim);
  } else if (kernel == KernelId::geglu || kernel == KernelId::softcap) {
    Adder<ElementArgs> a(*this, launch);
    a.changes(a.args.a, a.args.size);
    if (kernel == KernelId::geglu) a.reads(a.args.b, a.args.size);
  } else if (is_store(kernel)) {
    Adder<StoreKvArgs> a(*this, launch);
    const size_t size = size_t{launch.grid.x} * a.args.kv_heads * a.args.head_dim;
    a.reads(a.args.k, size);
    a.reads(a.args.v, size);
  } else if (is_plain_attention(kernel)) {
    Adder<AttentionArgs> a(*this, launch);
    attend(a, a.args);
  } else if (is_flash(kernel)) {
    Adder<FlashArgs> a(*this, launch);
    attend(a, a.args.attention);
    const size_t size = size_t{a.args.attention.rows} * a.args.attention.kv_heads * a.args.attention.head_dim;
    if ((a.args.prepare.flags & kPrepareStore) != 0) {
      a.reads(a.args.prepare.k, size);
      a.reads(a.args.prepare.v, size);
    }
  } else if (kernel == KernelId::attention_merge) {
    Adder<AttentionMergeArgs> a(*this, launch);
    const size_t heads = size_t{a.args.rows} * a.args.heads, size = heads * a.args.head_dim;
    a.reads(a.args.acc, size * a.args.parts);
    a.reads(a.args.state, 2 * heads * a.args.parts);
    a.writes(a.args.out, size);
  } else if (kernel == KernelId::absorb) {
    Adder<AbsorbArgs> a(*this, launch);
    const size_t looks = size_t{a.args.rows} * a.args.heads;
    a.reads(a.args.q, looks * a.args.head_dim);
    a.writes(a.args.absorbed, looks * a.args.k_proj.k);
  } else if (is_among(kernel, KernelId::latent_attention_F32, 3)) {
    Adder<LatentArgs> a(*this, launch);
    const size_t looks = size_t{a.args.kv_heads} * a.args.looks;
    a.reads(a.args.absorbed, looks * a.args.width);
    a.writes(a.args.acc, looks * a.args.width * launch.grid.z);
    a.writes(a.args.state, 2 * looks * launch.grid.z);
  } else if (kernel == KernelId::latent_combine) {
    Adder<LatentCombineArgs> a(*this, launch);
    const size_t looks = size_t{a.args.rows} * a.args.heads;
    a.reads(a.args.own_state, 2 * size_t{a.args.own_rows} * a.args.heads * a.args.own_parts);
    a.reads(a.args.state, 2 * looks * a.args.parts);
    a.reads(a.args.values, looks * a.args.head_dim);
    a.changes(a.args.out, looks * a.args.head_dim);
  } else if (kernel == KernelId::copy_page) {
    // Of pages alone.
  } else if (is_among(kernel, KernelId::pick_logits, 5)) {
    Adder<SelectArgs> a(*this, launch);  // its other memory is the backend's own
    a.reads(a.args.logits, size_t{a.args.rows} * a.args.vocab);
  } else {
    is_unknown_ = true;
  }
}

}  // namespace t5g::gpu
