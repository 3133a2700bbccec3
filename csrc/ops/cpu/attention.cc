// Two-segment online softmax: the keys of a sequence's own tokens and those of its source are visited part by part, a
// part being one chunk or several that begin at a multiple of their number, and each part's result is merged into a
// running one. Nothing is concatenated, copied per head, or n x n.
//
// A part's result is always computed on its own and merged in order of parts (self first, then source). So it makes no
// difference to a single bit whether one thread walks the parts or many threads share them.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/ceil_div.h"
#include "kernels/cpu/int8_keys.h"
#include "kernels/cpu/kv_layout.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/stop_inside.h"
#include "ops/source_parts.h"

namespace t5g {
namespace {

static_assert(kKvChunk == kernels::kChunkKeys);

constexpr int kMaxRows = 64;             // query rows of one block
constexpr int64_t kBlocksPerThread = 3;  // with fewer query blocks than this, threads share the parts of a block
constexpr int64_t kItemsPerThread = 4;   // into which those parts are then divided

// Bytes of one head's keys and values in one chunk.
int64_t head_bytes(const KvFormat& format) {
  return static_cast<int64_t>(kernels::round_up(kernels::kv_head_bytes(format.type, format.head_dim), 64));
}

// Coarse scores are products of int8: whether a sequence's keys are. Few keys take too little of the time to gain much.
bool is_int8(Scores scores, const KvFormat& format, int64_t n_keys) {
  return scores == Scores::kCoarseOfMany && format.type == DataType::kBF16 && n_keys > kManyKeys &&
         kernels::has_int8_keys(format.head_dim);
}

// A running softmax over a block's rows: what kernels::MergeArgs merges into.
struct SoftmaxState {
  float max[kMaxRows];
  float sum[kMaxRows];
  float* acc;  // [rows, acc_stride]
};

}  // namespace

// One call of CpuOps::attention.
class Attention {
 public:
  // own_sums: out, the largest score and the sum of weights of every row and head; null where nobody wants them.
  Attention(const kernels::KernelTable& kernels, const AttentionSpec& spec, int layer, HostTensor q, HostTensor out,
            float* own_sums)
      : kernels_(kernels),
        kv_(kernels.kv[static_cast<size_t>(spec.kv.type)]),
        spec_(spec),
        layer_(layer),
        head_dim_(spec.kv.head_dim),
        acc_stride_(kernels::acc_stride(head_dim_)),
        group_(spec.n_heads / spec.kv.n_kv_heads),
        part_chunks_(kernels::chunks_per_part(spec.kv.type)),
        part_keys_(part_chunks_ * kKvChunk),
        q_(q),
        out_(out),
        own_sums_(own_sums) {}

  int64_t floats_per_block() const { return int64_t{kMaxRows} * acc_stride_; }
  // Each thread's scratch.
  int64_t floats_per_thread() const {
    return 4 * floats_per_block() + static_cast<int64_t>(kernels::attend_scratch(spec_.kv.type, head_dim_));
  }

  void split(std::span<const AttentionInput> inputs, std::vector<AttentionBlock>& blocks) const {
    const int64_t queries_per_block = std::max(1, kMaxRows / group_);
    int64_t n_parts = 0;
    blocks.clear();
    for (const AttentionInput& input : inputs) {
      // Head by head: all threads look at the same keys, which stay in a cache.
      for (int head = 0; head < spec_.kv.n_kv_heads; ++head) {
        for (int64_t first = 0; first < input.n_rows; first += queries_per_block) {
          const int64_t n = std::min(queries_per_block, input.n_rows - first);
          const int64_t position = input.first_position + first;
          const int64_t begin = std::max<int64_t>(0, position - spec_.window.before) / part_keys_;
          const int64_t end = ceil_div(std::min(input.self.length, position + n + spec_.window.after), part_keys_);
          const int64_t source_units = ceil_div(input.source.length, part_keys_);
          const int64_t units = source_part_chunks(source_units);
          blocks.push_back({&input, head, first, static_cast<int>(n) * group_, begin, std::max<int64_t>(0, end - begin),
                            ceil_div(source_units, units), units, n_parts});
          n_parts += blocks.back().n_parts();
        }
      }
    }
  }

  // One thread walks all parts; asks `stop` between them, as those of a long source take long.
  void in_order(const AttentionBlock& block, float* scratch, FunctionRef<bool()> stop) const {
    float *part_acc = scratch + floats_per_block(), *state_acc = part_acc + floats_per_block();
    SoftmaxState state = empty_state(block, state_acc), part;
    part.acc = part_acc;
    const float* queries[kMaxRows];
    prepare_queries(block, scratch, queries);
    for (int64_t i = 0; i < block.n_parts(); ++i) {
      if (stop()) return;
      attend(block, i, block.n_parts(), queries, part.max, part.sum, part.acc, state_acc + floats_per_block());
      merge(block, state, part.max, part.sum, part.acc);
    }
    write(block, state);
  }

  // Floats of one part's result for so many rows: acc, max and sum of each, in whole cache lines.
  int64_t partial_floats(int rows) const { return rows * int64_t{acc_stride_} + ceil_div(2 * rows, 16) * 16; }

  // Parts [begin, end) of the block on their own, to results `stride` floats apart.
  void some_parts(const AttentionBlock& block, int64_t begin, int64_t end, float* scratch, float* partials,
                  int64_t stride) const {
    const float* queries[kMaxRows];
    prepare_queries(block, scratch, queries);
    for (int64_t i = begin; i < end; ++i, partials += stride) {
      float* max = partials + block.rows * acc_stride_;
      attend(block, i, end, queries, max, max + block.rows, partials, scratch + floats_per_block());
    }
  }

  // All of a block's partial results, in order, `stride` floats apart. scratch: floats_per_block().
  void merge_partials(const AttentionBlock& block, const float* partials, int64_t stride, float* scratch) const {
    SoftmaxState state = empty_state(block, scratch);
    for (int64_t i = 0; i < block.n_parts(); ++i, partials += stride) {
      const float* max = partials + block.rows * acc_stride_;
      merge(block, state, max, max + block.rows, partials);
    }
    write(block, state);
  }

 private:
  SoftmaxState empty_state(const AttentionBlock& block, float* acc) const {
    SoftmaxState state;
    std::fill_n(state.max, block.rows, -std::numeric_limits<float>::infinity());
    std::fill_n(state.sum, block.rows, 0.0f);
    std::fill_n(acc, int64_t{block.rows} * acc_stride_, 0.0f);
    state.acc = acc;
    return state;
  }

  // Where a block's row begins in a tensor [rows, H * Dh].
  float* row_of(HostTensor tensor, const AttentionBlock& block, int row) const {
    return tensor.row(block.input->first_row + block.first + row / group_) +
           (block.kv_head * group_ + row % group_) * head_dim_;
  }

  void prepare_queries(const AttentionBlock& block, float* prepared, const float** rows) const {
    const bool int8 = is_int8(block);
    for (int row = 0; row < block.rows; ++row, prepared += head_dim_) {
      const float* q = row_of(q_, block, row);
      int8 ? kernels::prepare_int8_query(kernels_, q, spec_.scale, head_dim_, prepared)
           : kv_.prepare_query(q, spec_.scale, head_dim_, prepared);
      rows[row] = prepared;
    }
  }

  bool is_int8(const AttentionBlock& block) const {
    return t5g::is_int8(spec_.scores, spec_.kv, block.input->self.length);
  }

  // What the kernel takes at once, counted from the first key: a part of a sequence's own keys, and one or several to a
  // part of the source.
  struct Unit {
    bool is_self;
    int64_t index;
  };
  Unit first_unit(const AttentionBlock& block, int64_t part) const {
    if (part < block.n_self) return {true, block.self_begin + part};
    return {false, (part - block.n_self) * block.source_units};
  }
  int64_t n_units(const AttentionBlock& block, int64_t part) const {
    if (part < block.n_self) return 1;
    const int64_t first = first_unit(block, part).index;
    return std::min(block.source_units, ceil_div(block.input->source.length, part_keys_) - first);
  }

  // Its first n chunks. Returns how many keys it has.
  int64_t chunks(const AttentionBlock& block, Unit unit, int n, const std::byte** chunks) const {
    const HostKv& kv = unit.is_self ? block.input->self : block.input->source;
    const int64_t first = unit.index * part_chunks_;
    const int64_t filled = std::min(kv.length - first * kKvChunk, part_keys_);
    for (int chunk = 0; chunk < n && chunk * kKvChunk < filled; ++chunk)
      chunks[chunk] = kv.chunk(layer_, first + chunk) + block.kv_head * head_bytes(spec_.kv);
    return filled;
  }

  // The result of the i-th part: of its units, each on its own and then merged in order. n: where the caller's walk
  // over the parts ends. scratch: floats_per_block() and the kernel's.
  void attend(const AttentionBlock& block, int64_t i, int64_t n, const float* const* queries, float* max, float* sum,
              float* acc, float* scratch) const {
    Unit unit = first_unit(block, i);
    const int64_t units = n_units(block, i);
    const std::byte* after = nullptr;
    if (i + 1 < n) chunks(block, first_unit(block, i + 1), 1, &after);
    if (units == 1) return attend(block, unit, after, queries, max, sum, acc, scratch + floats_per_block());
    SoftmaxState part = empty_state(block, acc);
    float unit_max[kMaxRows], unit_sum[kMaxRows];
    for (const int64_t end = unit.index + units; unit.index < end; ++unit.index) {
      const std::byte* next = after;
      if (unit.index + 1 < end) chunks(block, {unit.is_self, unit.index + 1}, 1, &next);
      attend(block, unit, next, queries, unit_max, unit_sum, scratch, scratch + floats_per_block());
      merge(block, part, unit_max, unit_sum, scratch);
    }
    std::copy_n(part.max, block.rows, max);
    std::copy_n(part.sum, block.rows, sum);
  }

  // One unit's own result. next: the chunk that will be asked for next, or null. scratch: the kernel's.
  void attend(const AttentionBlock& block, Unit unit, const std::byte* next, const float* const* queries, float* max,
              float* sum, float* acc, float* scratch) const {
    const std::byte* own[kernels::kMaxPartChunks];
    const int64_t filled = chunks(block, unit, part_chunks_, own);
    kernels::AttendArgs args{};
    args.q = queries;
    args.rows = block.rows;
    args.head_dim = head_dim_;
    args.chunks = own;
    args.next = next;
    args.n_keys = static_cast<int>(filled);
    args.softcap = spec_.softcap;
    if (is_int8(block)) args.multiply_int8 = kernels_.matmul[static_cast<size_t>(DataType::kQ8_0)];
    args.max = max;
    args.sum = sum;
    args.acc = acc;
    args.scratch = scratch;
    int32_t begin[kMaxRows], end[kMaxRows];
    const int64_t first_key = unit.index * part_keys_;
    if (unit.is_self && !all_visible(block, first_key, filled)) {
      for (int row = 0; row < block.rows; ++row) {
        const int64_t position = block.input->first_position + block.first + row / group_;
        begin[row] = static_cast<int32_t>(std::clamp<int64_t>(position - spec_.window.before - first_key, 0, filled));
        end[row] = static_cast<int32_t>(std::clamp<int64_t>(position + spec_.window.after + 1 - first_key, 0, filled));
      }
      args.begin = begin;
      args.end = end;
    }
    kv_.attend(args);
  }

  // Whether every query of the block sees the keys [first, first + n).
  bool all_visible(const AttentionBlock& block, int64_t first, int64_t n) const {
    const int64_t position = block.input->first_position + block.first;
    const int64_t last_position = position + (block.rows - 1) / group_;
    return last_position - spec_.window.before <= first && position + spec_.window.after >= first + n - 1;
  }

  void merge(const AttentionBlock& block, SoftmaxState& state, const float* max, const float* sum,
             const float* acc) const {
    kernels_.merge({block.rows, head_dim_, state.max, state.sum, state.acc, max, sum, acc});
  }

  // out = acc / sum; a row that sees no key at all (cross-attention to an empty source) gets zeros.
  void write(const AttentionBlock& block, const SoftmaxState& state) const {
    for (int row = 0; row < block.rows; ++row) {
      float* to = row_of(out_, block, row);
      const float* from = state.acc + row * acc_stride_;
      const float sum = state.sum[row];
      if (own_sums_ != nullptr) {
        const int64_t at = (block.input->first_row + block.first + row / group_) * spec_.n_heads +
                           block.kv_head * group_ + row % group_;
        own_sums_[2 * at] = state.max[row];
        own_sums_[2 * at + 1] = sum;
      }
      for (int d = 0; d < head_dim_; ++d) to[d] = sum > 0.0f ? from[d] / sum : 0.0f;
    }
  }

  const kernels::KernelTable& kernels_;
  const kernels::KvKernels& kv_;
  const AttentionSpec& spec_;
  const int layer_;
  const int head_dim_;
  const int acc_stride_;  // floats from one row of a result to the next
  const int group_;       // query heads per key/value head
  const int part_chunks_;
  const int64_t part_keys_;  // of a full part
  const HostTensor q_, out_;
  float* const own_sums_;
};

std::shared_ptr<KvPool> CpuOps::make_kv_pool(const KvFormat& format, int n_layers) {
  return std::make_shared<CpuKvPool>(device_, format, n_layers, format.n_kv_heads * head_bytes(format));
}

// Page numbers become addresses here, once for all layers.
void CpuOps::upload(const Batch& batch) {
  auto& pool = static_cast<CpuKvPool&>(batch.pool());
  size_t n_pages = 0;
  for (const Batch::Sequence& sequence : batch.sequences())
    n_pages += sequence.self.n_numbers + sequence.source.n_numbers;
  page_addresses_.resize(n_pages);
  located_.clear();
  std::byte** addresses = page_addresses_.data();
  const auto locate = [&](const Batch::Kv& kv) {
    std::byte** const own = std::exchange(addresses, addresses + kv.n_numbers);
    return pool.locate(batch.pages(kv), own);
  };
  for (const Batch::Sequence& sequence : batch.sequences()) {
    const HostKv self = locate(sequence.self);
    located_.push_back({self, locate(sequence.source)});
  }
}

void CpuOps::store_kv(Tensor k_rows, Tensor v_rows, BatchRows rows, int layer, Scores scores) {
  const HostTensor k = on_host(k_rows), v = on_host(v_rows);
  const KvFormat& format = static_cast<const CpuKvPool&>(rows.batch->pool()).format();
  const auto store_token = kernels_.kv[static_cast<size_t>(format.type)].store_token;
  for_each_sequence(rows, [&](const Batch::Sequence& sequence, const Located& at, int64_t begin, int64_t n) {
    const int64_t position = sequence.first_position + begin - sequence.first_row, first = begin - rows.first;
    const bool int8 = is_int8(scores, format, at.self.length);
    for_each_row(n, 2 * k.cols, [&](int64_t i) {
      const auto slot = static_cast<int>((position + i) % kKvChunk);
      std::byte* chunk = at.self.chunk(layer, (position + i) / kKvChunk);
      for (int64_t column = 0; column < k.cols; column += format.head_dim, chunk += head_bytes(format)) {
        const float *key = k.row(first + i) + column, *value = v.row(first + i) + column;
        int8 ? kernels::store_int8_token(kernels_, key, value, format.head_dim, slot, chunk)
             : store_token(key, value, format.head_dim, slot, chunk);
      }
    });
  });
}

void CpuOps::attention(Tensor q, const AttentionSpec& spec, BatchRows rows, int layer, Tensor out) {
  std::vector<AttentionInput>& inputs = attention_inputs_;
  inputs.clear();
  latent_inputs_.clear();
  for_each_sequence(rows, [&](const Batch::Sequence& sequence, const Located& at, int64_t begin, int64_t n) {
    if (sequence.latent != nullptr && spec.segments != Segments::kSelf)
      add_latent_input(static_cast<const CpuLatent*>(sequence.latent), begin - rows.first, n);
    inputs.push_back({.first_row = begin - rows.first,
                      .n_rows = n,
                      .first_position = sequence.first_position + begin - sequence.first_row,
                      .self = spec.segments == Segments::kSource ? HostKv{} : at.self,
                      .source = spec.segments == Segments::kSelf ? HostKv{} : at.source});
  });
  if (!latent_inputs_.empty()) own_sums_.resize(static_cast<size_t>(2 * rows.n * spec.n_heads));
  const Attention attention(kernels_, spec, layer, on_host(q), on_host(out),
                            latent_inputs_.empty() ? nullptr : own_sums_.data());
  attention.split(inputs, attention_blocks_);
  if (!attention_blocks_.empty()) attend(attention);
  if (!latent_inputs_.empty()) attend_to_latents(on_host(q), spec, layer, on_host(out));
}

// Sequences that share a source, beams for example, look at it together.
void CpuOps::add_latent_input(const CpuLatent* latent, int64_t first_row, int64_t n) {
  if (!latent_inputs_.empty()) {
    LatentInput& last = latent_inputs_.back();
    if (last.latent == latent && last.first_row + last.n_rows == first_row) {
      last.n_rows += n;
      return;
    }
  }
  latent_inputs_.push_back({latent, first_row, n});
}

// Walks the parts of all attention_blocks_.
void CpuOps::attend(const Attention& attention) {
  const std::vector<AttentionBlock>& blocks = attention_blocks_;
  const auto n_blocks = static_cast<int64_t>(blocks.size());
  const int64_t n_parts = blocks.back().first_part + blocks.back().n_parts();
  const int64_t per_thread = attention.floats_per_thread();
  const bool share_parts =
      pool_.n_threads() > 1 && n_blocks < kBlocksPerThread * pool_.n_threads() && n_parts > 2 * n_blocks;
  int max_rows = 0;
  for (const AttentionBlock& block : blocks) max_rows = std::max(max_rows, block.rows);
  const int64_t stride = share_parts ? attention.partial_floats(max_rows) : 0;

  const size_t needed = static_cast<size_t>(pool_.n_threads() * per_thread + n_parts * stride) * sizeof(float);
  if (attention_scratch_.size_bytes() < needed) attention_scratch_ = Buffer(needed + needed / 2);
  float* scratch = attention_scratch_.floats();
  float* partials = scratch + pool_.n_threads() * per_thread;
  const auto block_at = [&](int64_t i) -> const AttentionBlock& { return blocks[static_cast<size_t>(i)]; };

  if (!share_parts) {
    StopInside stop(interrupt());
    pool_.parallel_for(
        n_blocks,
        [&](int64_t i, int thread) {
          attention.in_order(block_at(i), scratch + thread * per_thread, [&] { return stop.asked(thread); });
        },
        interrupt());
    return;
  }
  // Several parts in a row: they are one stream of memory.
  const int64_t per_item = std::max<int64_t>(1, n_parts / (pool_.n_threads() * kItemsPerThread));
  pool_.parallel_for(
      ceil_div(n_parts, per_item),
      [&](int64_t item, int thread) {
        const int64_t end = std::min((item + 1) * per_item, n_parts);
        for (int64_t i = item * per_item; i < end;) {
          const auto after =
              std::upper_bound(blocks.begin(), blocks.end(), i,
                               [](int64_t part, const AttentionBlock& b) { return part < b.first_part; });
          const AttentionBlock& block = *(after - 1);
          const int64_t first = i - block.first_part;
          const int64_t last = std::min(end - block.first_part, block.n_parts());
          attention.some_parts(block, first, last, scratch + thread * per_thread, partials + i * stride, stride);
          i += last - first;
        }
      },
      interrupt());
  pool_.parallel_for(
      n_blocks,
      [&](int64_t i, int thread) {
        const AttentionBlock& block = block_at(i);
        attention.merge_partials(block, partials + block.first_part * stride, stride, scratch + thread * per_thread);
      },
      interrupt());
}

}  // namespace t5g
