// The batch on the device, and attention over what its sequences see.
#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "base/ceil_div.h"
#include "ops/gpu/gpu_ops.h"
#include "ops/gpu/latent.h"

namespace t5g::gpu {
namespace {

static_assert(kKvChunk == kChunkKeys);

constexpr double kLog2E = 1.4426950408889634;
// Of partial results that a launch may leave behind.
constexpr int64_t kMaxPartBytes = int64_t{64} << 20;

size_t aligned(size_t n) { return (n + 15) / 16 * 16; }

// Lists of a batch, one after the other.
struct BatchLayout {
  size_t ids, positions, row_sequence, sequences, pages, total;

  BatchLayout(size_t n_rows, size_t n_sequences, size_t n_pages)
      : ids(0),
        positions(aligned(n_rows * sizeof(i32))),
        row_sequence(positions + aligned(n_rows * sizeof(i32))),
        sequences(row_sequence + aligned(n_rows * sizeof(u32))),
        pages(sequences + aligned(n_sequences * sizeof(Sequence))),
        // In steps, so that batches lie alike for a while as they grow.
        total(pages + aligned(std::bit_ceil(std::max<size_t>(n_pages, 16)) * sizeof(Page))) {}
};

}  // namespace

void GpuOps::upload(const Batch& batch) {
  const auto& pool = static_cast<const GpuKvPool&>(batch.pool());
  pages_.clear();
  max_self_ = max_source_ = 0;
  is_decoding_ = !batch.ids().empty();
  const auto sequences = batch.sequences();
  std::vector<Sequence>& made = sequences_;
  made.clear();
  latents_.clear();
  const auto span_of = [&](const Batch::Kv& kv) {
    const auto slot = static_cast<u64>(pool.slot_bytes());
    const u64 layer_bytes = kv.is_run ? static_cast<u64>(kv_chunks(kv.length)) * slot : slot;
    const KvSpan span{layer_bytes, static_cast<u32>(pages_.size()), static_cast<u32>(kv.length)};
    pool.locate(batch.pages(kv), pages_);
    return span;
  };
  for (const Batch::Sequence& s : sequences) {
    is_decoding_ = is_decoding_ && !s.self.is_run;
    max_self_ = std::max(max_self_, s.self.length);
    max_source_ = std::max(max_source_, s.source.length);
    Sequence& to = made.emplace_back();
    to.self = span_of(s.self);
    to.source = span_of(s.source);
    to.first_row = static_cast<u32>(s.first_row);
    to.n_rows = static_cast<u32>(s.n_rows);
    to.first_position = static_cast<u32>(s.first_position);
    latents_.push_back(static_cast<const GpuLatent*>(s.latent));
  }
  const auto n_rows = static_cast<size_t>(batch.n_rows());
  const BatchLayout layout(n_rows, made.size(), pages_.size());
  queue_.put_batch(layout.total, [&](std::byte* host, Address device) {
    const auto copy = [&](size_t at, const auto& values) {
      if (!values.empty()) std::memcpy(host + at, values.data(), values.size() * sizeof values[0]);
    };
    copy(layout.ids, batch.ids());
    copy(layout.positions, batch.positions());
    auto* row_sequence = reinterpret_cast<u32*>(host + layout.row_sequence);
    for (size_t i = 0; i < made.size(); ++i) std::fill_n(row_sequence + made[i].first_row, made[i].n_rows, i);
    copy(layout.sequences, made);
    copy(layout.pages, pages_);
    ids_ = device + layout.ids;
    batch_.positions = pointer_to<const i32>(device + layout.positions);
    batch_.row_sequence = pointer_to<const u32>(device + layout.row_sequence);
    batch_.sequences = pointer_to<const Sequence>(device + layout.sequences);
    batch_.pages = pointer_to<const Page>(device + layout.pages);
  });
  queue_.keep_whole(is_decoding_);
}

void GpuOps::store_kv(Tensor k, Tensor v, BatchRows rows, int layer, Scores) {
  if (k.rows == 0) return;
  const KvFormat& format = static_cast<const GpuKvPool&>(rows.batch->pool()).format();
  StoreKvArgs args{};
  args.k = pointer_to<const f32>(address_of(k));
  args.v = pointer_to<const f32>(address_of(v));
  args.batch = batch_;
  args.first_row = static_cast<u32>(rows.first);
  args.layer = static_cast<u32>(layer);
  args.kv_heads = static_cast<u32>(format.n_kv_heads);
  args.head_dim = static_cast<u32>(format.head_dim);
  queue_.launch(for_kv_type(KernelId::store_kv_F32, kv_type(format.type)),
                {static_cast<uint32_t>(k.rows), args.kv_heads}, args);
}

// In steps of a quarter of a power of two at least, so that the launches of a sequence that grows are the same for a
// while. Parts that a row has not are left at once. tile_rows: rows of a sequence that are looked after together.
int64_t GpuOps::max_parts(const AttentionSpec& spec, int64_t part_keys, int64_t tile_rows) const {
  int64_t own = ceil_div(max_self_, part_keys), source = ceil_div(max_source_, part_keys);
  if (spec.window.before < Window::kUnlimited && spec.window.after < Window::kUnlimited)
    own = std::min(own, ceil_div(spec.window.before + spec.window.after + tile_rows, part_keys) + 1);
  if (spec.segments == Segments::kSelf) source = 0;
  if (spec.segments == Segments::kSource) own = 0;
  const auto parts = static_cast<uint64_t>(std::max<int64_t>(own + source, 1));
  const uint64_t step = std::max<uint64_t>(std::bit_floor(parts) / 4, 1);
  return static_cast<int64_t>((parts + step - 1) / step * step);
}

// Rows [first, first + n) of the batch in tiles of at most `tile_rows` of one sequence.
void GpuOps::make_tiles(int64_t first, int64_t n, int64_t tile_rows) {
  if (tiles_epoch_ == queue_.epoch() && tiles_first_ == first && tiles_rows_ == n && tile_rows_ == tile_rows) return;
  tiles_.clear();
  tiles_are_split_ = false;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const Sequence& sequence = sequences_[i];
    const int64_t begin = std::max<int64_t>(first, sequence.first_row);
    const int64_t end = std::min<int64_t>(first + n, int64_t{sequence.first_row} + sequence.n_rows);
    for (int64_t row = begin; row < end; row += tile_rows) {
      const auto rows = static_cast<u32>(std::min(tile_rows, end - row));
      tiles_are_split_ = tiles_are_split_ || rows < sequence.n_rows;
      tiles_.push_back({static_cast<u32>(i), static_cast<u32>(row), rows, 0});
    }
  }
  tiles_at_ = queue_.put_values(std::span<const AttentionTile>(tiles_));
  tiles_epoch_ = queue_.epoch();
  tiles_first_ = first;
  tiles_rows_ = n;
  tile_rows_ = tile_rows;
}

void GpuOps::attention(Tensor q, const AttentionSpec& spec, BatchRows rows, int layer, Tensor out) {
  if (q.rows == 0) return;
  const auto visible = [](int64_t n) { return static_cast<u32>(std::min<int64_t>(n, Window::kUnlimited)); };
  FlashArgs flash{};
  AttentionArgs& args = flash.attention;
  args.batch = batch_;
  args.layer = static_cast<u32>(layer);
  args.segments = spec.segments == Segments::kSelf     ? kSelfKeys
                  : spec.segments == Segments::kSource ? kSourceKeys
                                                       : kSelfKeys | kSourceKeys;
  args.heads = static_cast<u32>(spec.n_heads);
  args.kv_heads = static_cast<u32>(spec.kv.n_kv_heads);
  args.head_dim = static_cast<u32>(spec.kv.head_dim);
  args.part_chunks = is_decoding_ ? kDecodePartChunks : kWholePartChunks;
  args.before = visible(spec.window.before);
  args.after = visible(spec.window.after);
  args.scale = static_cast<f32>(double{spec.scale} * kLog2E);
  args.softcap = static_cast<f32>(double{spec.softcap} * kLog2E);

  const KvType type = kv_type(spec.kv.type);
  const uint32_t tiles = is_decoding_ ? 1 : 2;
  const int64_t tile_rows = kFlashRows * tiles / (args.heads / args.kv_heads);
  const std::optional<KernelId> fast =
      has_fragments_ && tile_rows > 0 ? flash_for(type, spec.kv.head_dim, tiles) : std::nullopt;
  const bool to_latents = looks_at_latents(spec, rows.first, q.rows);
  // Where a latent source comes on top, parts leave behind what their keys weigh.
  const int64_t parts = std::max<int64_t>(max_parts(spec, int64_t{args.part_chunks} * kKvChunk, fast ? tile_rows : 1),
                                          to_latents ? 2 : 1);
  args.parts = static_cast<u32>(parts);

  const int64_t width = q.cols, floats_per_row = parts * (width + 2 * spec.n_heads);
  const int64_t rows_together =
      parts == 1 ? q.rows : std::clamp<int64_t>(kMaxPartBytes / (4 * floats_per_row), 1, q.rows);
  const Address scratch =
      parts == 1 ? 0 : attention_parts_.of(queue_, static_cast<size_t>(4 * floats_per_row * rows_together));
  for (int64_t first = 0; first < q.rows; first += rows_together) {
    const int64_t n = std::min(rows_together, q.rows - first);
    args.q = pointer_to<const f32>(address_of(q.slice(first, first + n)));
    args.out = pointer_to<f32>(address_of(out.slice(first, first + n)));
    if (parts > 1) {
      args.acc = pointer_to<f32>(scratch);
      args.state = args.acc + parts * n * width;
    }
    args.rows = static_cast<u32>(n);
    args.first_row = static_cast<u32>(rows.first + first);
    if (fast) {
      make_tiles(rows.first + first, n, tile_rows);
      flash.tiles = pointer_to<const AttentionTile>(tiles_at_);
      flash.prepare.flags = tiles_are_split_ ? kHasSplitTiles : 0;
      queue_.launch(*fast, {static_cast<uint32_t>(tiles_.size()), args.kv_heads, args.parts}, flash);
    } else {
      queue_.launch(for_kv_type(KernelId::attention_F32, type), {args.rows, args.heads, args.parts}, args);
    }
    if (parts == 1) continue;
    const AttentionMergeArgs merge{args.acc, args.state, args.out, args.rows, args.heads, args.head_dim, args.parts};
    queue_.launch(KernelId::attention_merge, {static_cast<uint32_t>(ceil_div(n * spec.n_heads, kMergeHeads))}, merge);
    if (to_latents) attend_to_latents(args, spec);
  }
}

}  // namespace t5g::gpu
