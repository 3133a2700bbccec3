// A walk over the pass with a few launches of foresight. The residual stream x is summed up by groups that read all of
// it, so each sum goes to another memory than it was read from, and later launches are told where x is.
#include "ops/gpu/fusion.h"

#include <algorithm>
#include <cstring>

#include "ops/gpu/touches.h"

namespace t5g::gpu {
namespace {

// Every group of a product merges all parts of all rows by itself, one after the other, which by the machine code takes
// a device about two microseconds each: worth the launch that is saved for the few parts of a short text alone.
constexpr uint32_t kMaxMergedParts = 4;

Address address(const void* pointer) { return reinterpret_cast<Address>(pointer); }

uint32_t tiles(uint32_t n, uint32_t per_tile) { return (n + per_tile - 1) / per_tile; }

// The same kernel and grid, other arguments.
void set(Launch& launch, const MatvecArgs& args) { std::memcpy(launch.bytes.data(), &args, sizeof args); }

}  // namespace

bool Fusion::must_grow(const std::vector<Launch>& pass) const {
  size_t needed = 0;
  for (const Launch& launch : pass) {
    if (launch.kernel == KernelId::add_rms_norm) {
      const auto norm = launch.args<NormArgs>();
      needed = std::max(needed, size_t{4} * norm.rows * norm.cols);
    }
  }
  return needed > (other_ == nullptr ? 0 : other_->size_bytes());
}

const std::vector<Launch>& Fusion::fuse(const std::vector<Launch>& pass, bool is_whole) {
  pass_ = &pass;
  is_whole_ = is_whole;
  fused_.clear();
  stream_ = current_ = 0;
  for (size_t at = 0; at < pass.size();) {
    if (fuse_norm(at) || fuse_merge(at) || fuse_preparation(at)) continue;
    emit(pass[at++]);
    finish_with_geglu(at);
  }
  if (current_ != stream_) {
    CopyArgs copy{pointer_to<const u8>(current_), pointer_to<u8>(stream_), (stream_bytes_ + 15) / 16 * 16};
    fused_.emplace_back(KernelId::copy_page, Grid{tiles(static_cast<uint32_t>(copy.bytes), 16 * kRowThreads)}, copy);
  }
  return fused_;
}

// Whether nobody reads these bytes after the launch before `after`, until they are written anew.
bool Fusion::dies(size_t after, Address begin, size_t size_bytes) const {
  for (size_t i = after; i < pass_->size(); ++i) {
    const Touches touches((*pass_)[i], max_rows_);
    if (touches.is_unknown()) return false;
    bool is_written = false;
    for (const Touch& touch : touches.all()) {
      if (touch.reads && touch.overlaps(begin, size_bytes)) return false;
      is_written = is_written || (touch.writes && touch.covers(begin, size_bytes));
    }
    if (is_written) return true;
  }
  return is_whole_ && memory_->is_passing(begin, size_bytes);
}

// How many launches from `first` on multiply these rows as they are.
size_t Fusion::matvecs_from(size_t first, Address x, size_t m, size_t k) const {
  size_t n = 0;
  for (size_t i = first; i < pass_->size() && is_matvec((*pass_)[i].kernel); ++i, ++n) {
    const auto args = (*pass_)[i].args<MatvecArgs>();
    if (args.input.kind != kFromRows || address(args.input.x) != x || args.m != m || args.k != k) break;
  }
  return n;
}

// [x += rms_norm(a)] h = rms_norm(x), products of h -> products that make h, and x, themselves.
bool Fusion::fuse_norm(size_t& at) {
  const std::vector<Launch>& pass = *pass_;
  const bool adds = pass[at].kernel == KernelId::add_rms_norm;
  const size_t norm_at = at + (adds ? 1 : 0);
  if (norm_at >= pass.size() || pass[norm_at].kernel != KernelId::rms_norm) return false;
  const auto norm = pass[norm_at].args<NormArgs>();
  const size_t size_bytes = size_t{4} * norm.rows * norm.cols;
  if (norm.out == norm.x) return false;
  const size_t n = matvecs_from(norm_at + 1, address(norm.out), norm.rows, norm.cols);
  if (n == 0 || !dies(norm_at + 1 + n, address(norm.out), size_bytes)) return false;
  NormArgs sum{};
  if (adds) {
    sum = pass[at].args<NormArgs>();
    if (sum.out != norm.x || sum.rows != norm.rows || sum.cols != norm.cols || sum.eps != norm.eps) return false;
    if (stream_ != 0 && address(norm.x) != stream_) return false;
    if (stream_ == 0) stream_ = current_ = address(norm.x);
    stream_bytes_ = std::max(stream_bytes_, size_bytes);
    if (other_ == nullptr || other_->size_bytes() < stream_bytes_)
      other_ = memory_->allocate_unfilled(std::max(size_bytes, size_t{4} * max_rows_ * norm.cols));
  }
  for (size_t i = 0; i < n; ++i) {
    Launch launch = pass[norm_at + 1 + i];
    auto args = launch.args<MatvecArgs>();
    args.input.kind = kFromNorm;
    args.input.x = norm.x;
    args.input.weight = norm.weight;
    args.input.eps = norm.eps;
    if (adds && i == 0) {
      const Address to = current_ == stream_ ? other_->address() : stream_;
      args.input.kind = kFromSum;
      args.input.x = pointer_to<const f32>(current_);
      args.input.added = sum.x;
      args.input.added_weight = sum.weight;
      args.input.x_out = pointer_to<f32>(to);
      set(launch, args);
      fused_.push_back(launch);
      current_ = to;
    } else {
      set(launch, args);
      emit(launch);
    }
  }
  at = norm_at + 1 + n;
  finish_with_geglu(at);
  return true;
}

// out = attention's parts merged, and the product of it.
bool Fusion::fuse_merge(size_t& at) {
  const std::vector<Launch>& pass = *pass_;
  if (pass[at].kernel != KernelId::attention_merge) return false;
  const auto merge = pass[at].args<AttentionMergeArgs>();
  const size_t k = size_t{merge.heads} * merge.head_dim;
  if (merge.parts * merge.rows > kMaxMergedParts) return false;
  if (matvecs_from(at + 1, address(merge.out), merge.rows, k) != 1) return false;
  if (!dies(at + 2, address(merge.out), 4 * k * merge.rows)) return false;
  Launch launch = pass[at + 1];
  auto args = launch.args<MatvecArgs>();
  args.input.kind = kFromParts;
  args.input.x = merge.acc;
  args.input.added = merge.state;
  args.input.head_dim = merge.head_dim;
  args.input.parts = merge.parts;
  set(launch, args);
  emit(launch);
  at += 2;
  return true;
}

// Norms of the heads of q and k, if any, their rotation, store_kv, attention -> attention that does all that first.
bool Fusion::fuse_preparation(size_t& at) {
  const std::vector<Launch>& pass = *pass_;
  size_t next = at;
  const auto follows = [&](KernelId kernel) { return next < pass.size() && pass[next].kernel == kernel; };
  NormArgs norms[2]{};
  const bool has_norms = follows(KernelId::rms_norm);
  for (NormArgs& norm : norms) {
    if (!has_norms) break;
    if (!follows(KernelId::rms_norm)) return false;
    norm = pass[next++].args<NormArgs>();
    if (norm.x != norm.out || norm.eps != norms[0].eps) return false;
  }
  RopeArgs ropes[2]{};
  for (RopeArgs& rope : ropes) {
    if (!follows(KernelId::rope)) return false;
    rope = pass[next++].args<RopeArgs>();
  }
  if (next + 1 >= pass.size() || !is_store(pass[next].kernel) || !is_flash(pass[next + 1].kernel)) return false;
  const auto store = pass[next].args<StoreKvArgs>();
  Launch launch = pass[next + 1];
  auto flash = launch.args<FlashArgs>();
  const AttentionArgs& attention = flash.attention;
  const bool same_rows = ropes[0].x == attention.q && ropes[1].x == store.k && ropes[0].inv_freq == ropes[1].inv_freq &&
                         store.first_row == attention.first_row && store.layer == attention.layer &&
                         (attention.segments & kSelfKeys) != 0;
  const bool same_norms = !has_norms || (norms[0].x == ropes[0].x && norms[1].x == ropes[1].x &&
                                         norms[0].cols == attention.head_dim && norms[1].cols == attention.head_dim);
  const size_t rows = attention.rows, q_bytes = 4 * rows * attention.heads * attention.head_dim;
  const size_t k_bytes = 4 * rows * attention.kv_heads * attention.head_dim;
  // A tile can store its sequence's new keys and values where it has all of its rows.
  const bool has_split_tiles = (flash.prepare.flags & kHasSplitTiles) != 0;
  if (has_split_tiles || !same_rows || !same_norms || pass[next].grid.x != rows) return false;
  if (!dies(next + 2, address(attention.q), q_bytes) || !dies(next + 2, address(store.k), k_bytes)) return false;
  flash.prepare = {.q_norm = norms[0].weight,
                   .k_norm = norms[1].weight,
                   .inv_freq = ropes[0].inv_freq,
                   .k = store.k,
                   .v = store.v,
                   .flags = (has_norms ? kPrepareNorm : 0) | kPrepareRope | kPrepareStore,
                   .eps = norms[0].eps};
  std::memcpy(launch.bytes.data(), &flash, sizeof flash);
  emit(launch);
  at = next + 2;
  return true;
}

// gelu_tanh(gate) * up, right after the product that made both.
void Fusion::finish_with_geglu(size_t& at) {
  if (at >= pass_->size() || (*pass_)[at].kernel != KernelId::geglu || !is_matvec(fused_.back().kernel)) return;
  Launch& launch = fused_.back();
  auto args = launch.args<MatvecArgs>();
  const auto geglu = (*pass_)[at].args<ElementArgs>();
  const Projection &gate = args.projections[0], &up = args.projections[1];
  if (args.n_projections != 2 || gate.out != geglu.a || up.out != geglu.b || (gate.flags | up.flags) != 0) return;
  if (gate.weight.n != up.weight.n || geglu.size != u64{args.m} * gate.weight.n) return;
  if (!dies(at + 1, address(up.out), 4 * geglu.size)) return;
  args.finish = kGeglu;
  set(launch, args);
  launch.grid.x = tiles(gate.weight.n, kMatvecPairs);
  ++at;
}

// Whoever uses the stream uses it where it is now; who writes all of it anew, unread, does that in its own place.
void Fusion::emit(Launch launch) {
  if (current_ != stream_) {
    const Touches touches(launch, max_rows_);
    bool is_anew = false;
    for (const Touch& touch : touches.all()) {
      if (!touch.overlaps(stream_, stream_bytes_)) continue;
      if (touch.writes && !touch.reads && touch.covers(stream_, stream_bytes_)) {
        is_anew = true;
        continue;
      }
      const Address moved = touch.begin - stream_ + current_;
      std::memcpy(launch.bytes.data() + touch.offset, &moved, sizeof moved);
    }
    if (is_anew) current_ = stream_;
  }
  fused_.push_back(launch);
}

}  // namespace t5g::gpu
