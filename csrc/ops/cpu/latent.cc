// Attention to a latent source (docs/design/latent-sources.md): queries are taken to the encoder's space, look at its
// rows there, and what they find is taken back by the projection of values.
//
// As in attention.cc, a part of the rows has a result of its own and parts are merged in order, so that no bit depends
// on how threads share them, nor on the rows of queries beside.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/ceil_div.h"
#include "kernels/cpu/kv_layout.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/stop_inside.h"
#include "ops/source_parts.h"

namespace t5g {
namespace {

constexpr int kBlockRows = kLatentBlockRows;
constexpr int64_t kRowsTogether = 256;     // rows that are absorbed together
constexpr int64_t kBlocksPerThread = 3;    // with fewer blocks than this, threads share the parts of a block,
constexpr int64_t kMaxPartials = 8 << 20;  // if their results are not more floats than this
constexpr int64_t kGroupsPerItem = 8;

struct State {
  float* max;
  float* sum;
  float* acc;
};

void clear(const State& state, int rows, int64_t stride) {
  std::fill_n(state.max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(state.sum, rows, 0.0f);
  std::fill_n(state.acc, rows * stride, 0.0f);
}

class Walk {
 public:
  Walk(const kernels::KernelTable& kernels, const LatentWork& work, float softcap)
      : kernels_(kernels), work_(work), softcap_(softcap), part_chunks_(source_part_chunks(work.n_chunks())) {}

  int64_t n_parts() const { return ceil_div(work_.n_chunks(), part_chunks_); }

  // One part of the source for one block -> state. scratch: kBlockRows rows.
  void part(int64_t block, int64_t part, const State& state, float* scratch) const {
    const int rows = work_.rows_of(block);
    clear(state, rows, work_.stride);
    const int64_t end = std::min((part + 1) * part_chunks_, work_.n_chunks());
    for (int64_t chunk = part * part_chunks_; chunk < end; ++chunk) {
      float max[kBlockRows], sum[kBlockRows];
      attend(block, chunk, chunk + 1 < end, {max, sum, scratch});
      merge(rows, state, {max, sum, scratch});
    }
  }

  void merge(int rows, const State& state, const State& part) const {
    const auto width = static_cast<int>(work_.latent->format().hidden_size);
    kernels_.merge({rows, width, state.max, state.sum, state.acc, part.max, part.sum, part.acc});
  }

  // Where the results of a block go.
  State result(int64_t block) const {
    const int64_t row = block * kBlockRows;
    return {work_.max + row, work_.sum + row, work_.acc + row * work_.stride};
  }

 private:
  void attend(int64_t block, int64_t chunk, bool is_next_too, const State& out) const {
    const LatentFormat& format = work_.latent->format();
    const float *q[kBlockRows], *scales[kBlockRows];
    const int64_t first = block * kBlockRows, key = chunk * kKvChunk;
    const int rows = work_.rows_of(block);
    for (int i = 0; i < rows; ++i) {
      q[i] = work_.absorbed + (first + i) * work_.stride;
      if (format.n_kv_heads > 0) scales[i] = work_.latent->scales(work_.layer, work_.queries.kv_head(first + i)) + key;
    }
    kernels_.attend_latent({.type = format.type,
                            .hidden_size = static_cast<int>(format.hidden_size),
                            .row_bytes = static_cast<int64_t>(work_.latent->row_bytes()),
                            .keys = work_.latent->row(key),
                            .n_keys = static_cast<int>(std::min(kKvChunk, work_.latent->n() - key)),
                            .next = is_next_too ? work_.latent->row(key + kKvChunk) : nullptr,
                            .q = q,
                            .scales = format.n_kv_heads > 0 ? scales : nullptr,
                            .rows = rows,
                            .softcap = softcap_,
                            .max = out.max,
                            .sum = out.sum,
                            .acc = out.acc});
  }

  const kernels::KernelTable& kernels_;
  const LatentWork& work_;
  const float softcap_;
  const int64_t part_chunks_;
};

// Threads take blocks.
void walk_blocks(ThreadPool& pool, const Walk& walk, const LatentWork& work, Interrupt* interrupt) {
  StopInside stop(interrupt);
  pool.parallel_for(
      work.n_blocks(),
      [&](int64_t block, int thread) {
        float max[kBlockRows], sum[kBlockRows];
        float* acc = work.per_thread + thread * 2 * kBlockRows * work.stride;
        const State result = walk.result(block), part{max, sum, acc};
        clear(result, work.rows_of(block), work.stride);
        for (int64_t i = 0; i < walk.n_parts() && !stop.asked(thread); ++i) {
          walk.part(block, i, part, acc + kBlockRows * work.stride);
          walk.merge(work.rows_of(block), result, part);
        }
      },
      interrupt);
}

// Threads take parts, whose results are then merged.
void walk_parts(ThreadPool& pool, const Walk& walk, const LatentWork& work, Interrupt* interrupt) {
  const int64_t n_parts = walk.n_parts(), floats = kBlockRows * (work.stride + 2);
  const auto partial = [&](int64_t block, int64_t part) -> State {
    float* at = work.partials + (block * n_parts + part) * floats;
    return {at, at + kBlockRows, at + 2 * kBlockRows};
  };
  pool.parallel_for(
      work.n_blocks() * n_parts,
      [&](int64_t item, int thread) {
        float* scratch = work.per_thread + thread * 2 * kBlockRows * work.stride;
        walk.part(item / n_parts, item % n_parts, partial(item / n_parts, item % n_parts), scratch);
      },
      interrupt);
  pool.parallel_for(
      work.n_blocks(),
      [&](int64_t block, int) {
        clear(walk.result(block), work.rows_of(block), work.stride);
        for (int64_t i = 0; i < n_parts; ++i) walk.merge(work.rows_of(block), walk.result(block), partial(block, i));
      },
      interrupt);
}

// q times the scale of scores and the norm of keys.
void scale_queries(const LatentWork& work, HostTensor q, float scale, const float* norm) {
  const LatentQueries& queries = work.queries;
  for (int64_t row = 0; row < queries.rows(); ++row) {
    const float* from = queries.in(q, row);
    float* to = work.scaled + row * queries.head_dim;
    for (int d = 0; d < queries.head_dim; ++d) to[d] = from[d] * scale * (norm == nullptr ? 1.0f : norm[d]);
  }
}

// What the source gives, means of its values, and what the queries' own keys give become one softmax's result.
void combine(const LatentWork& work, HostTensor out, const float* own_sums) {
  const LatentQueries& queries = work.queries;
  const int64_t width = int64_t{queries.n_kv_heads} * queries.head_dim;
  for (int64_t row = 0; row < queries.rows(); ++row) {
    const float* own = own_sums + 2 * ((queries.first_row + queries.query(row)) * queries.n_heads + queries.head(row));
    const float top = std::max(own[0], work.max[row]);
    const float own_weight = own[1] > 0 ? own[1] * std::exp(own[0] - top) : 0.0f;
    const float weight = work.sum[row] * std::exp(work.max[row] - top), all = own_weight + weight;
    const float* from = work.values + row * width + queries.kv_head(row) * queries.head_dim;
    float* to = queries.in(out, row);
    for (int d = 0; d < queries.head_dim; ++d) to[d] = (own_weight * to[d] + weight * from[d]) / all;
  }
}

}  // namespace

std::unique_ptr<Latent> CpuOps::load_latent(const LatentFormat& format, int64_t n, std::span<const std::byte> rows) {
  return std::make_unique<CpuLatent>(format, n, rows);
}

void CpuOps::scale_latent(Latent& latent, Tensor k_rows, int64_t first, int layer, float eps) {
  auto& own = static_cast<CpuLatent&>(latent);
  const HostTensor k = on_host(k_rows);
  const int heads = own.format().n_kv_heads, head_dim = static_cast<int>(k.cols / heads);
  for_each_row(k.rows, k.cols, [&](int64_t i) {
    for (int head = 0; head < heads; ++head) {
      const float* values = k.row(i) + head * head_dim;
      float sums[8] = {};
      for (int d = 0; d < head_dim; ++d) sums[d % 8] += values[d] * values[d];
      const float sum = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
      own.scales(layer, head)[first + i] = 1.0f / std::sqrt(sum / static_cast<float>(head_dim) + eps);
    }
  });
}

void CpuOps::absorb_queries(const LatentWork& work, const CpuMatrix& k_proj) {
  const LatentQueries& queries = work.queries;
  const int64_t width = work.latent->format().hidden_size;
  k_proj.pack(pool_, interrupt());
  for (int head = 0; head < queries.n_kv_heads; ++head) {
    const CpuMatrix& matrix = k_proj.transposed_head(head, queries.head_dim, pool_, interrupt());
    const int64_t first = head * queries.rows_of_head();
    pool_.parallel_for(
        ceil_div(matrix.n_groups(), kGroupsPerItem),
        [&](int64_t item, int) {
          kernels::MatmulArgs args{};
          args.weight = matrix.packed();
          args.group_begin = item * kGroupsPerItem;
          args.group_end = std::min(args.group_begin + kGroupsPerItem, matrix.n_groups());
          args.n = width;
          args.k = queries.head_dim;
          args.m = queries.rows_of_head();
          args.x = work.scaled + first * queries.head_dim;
          args.y = work.absorbed + first * work.stride;
          args.ldy = work.stride;
          kernels_.matmul[static_cast<size_t>(matrix.packed_type())](args);
        },
        interrupt());
  }
}

// values = means v_proj^T, of each row the columns of its own head.
void CpuOps::take_values_back(const LatentWork& work, const CpuMatrix& v_proj) {
  const LatentQueries& queries = work.queries;
  const int64_t width = work.latent->format().hidden_size;
  for (int64_t row = 0; row < queries.rows(); ++row) {
    for (int64_t i = 0; i < width; ++i) work.means[row * width + i] = work.acc[row * work.stride + i] / work.sum[row];
  }
  v_proj.pack(pool_, interrupt());
  const HostTensor means{work.means, queries.rows(), width};
  const DataType type = v_proj.packed_type();
  const kernels::QuantizedRows quantized = is_quantized(type) ? quantize(means) : kernels::QuantizedRows{};
  const uint16_t* rounded = type == DataType::kBF16 ? round(means) : nullptr;
  const int64_t k = v_proj.packed_cols(), pairs = kernels::padded_to_pairs(k);
  const int64_t columns = queries.head_dim;
  pool_.parallel_for(
      queries.n_kv_heads,
      [&](int64_t head, int) {
        const int64_t first = head * queries.rows_of_head();
        kernels::MatmulArgs args{};
        args.weight = v_proj.packed();
        // Whole groups: columns of heads beside this one are nobody's.
        args.group_begin = head * columns / kernels::kGroupRows;
        args.group_end = ceil_div((head + 1) * columns, kernels::kGroupRows);
        args.n = v_proj.rows();
        args.k = k;
        args.m = queries.rows_of_head();
        args.x = work.means + first * width;
        if (rounded != nullptr) args.x_bf16 = rounded + first * pairs;
        if (quantized.values != nullptr) {
          args.x_q = {quantized.values + first * k, quantized.scales + first * (k / kernels::kBlock),
                      quantized.sums + first * (k / kernels::kBlock)};
        }
        args.y = work.values + first * v_proj.rows();
        args.ldy = v_proj.rows();
        kernels_.matmul[static_cast<size_t>(type)](args);
      },
      interrupt());
}

void CpuOps::attend_to_latent(const LatentInput& input, HostTensor q, const AttentionSpec& spec, int layer,
                              HostTensor out) {
  LatentWork work{};
  work.queries = {input.first_row, input.n_rows, spec.n_heads, spec.kv.n_kv_heads, spec.kv.head_dim};
  work.latent = input.latent;
  work.layer = layer;
  const int64_t width = input.latent->format().hidden_size, rows = work.queries.rows();
  work.stride = kernels::acc_stride(static_cast<int>(width));
  const Walk walk(kernels_, work, spec.softcap);
  const int64_t n_partials = work.n_blocks() * walk.n_parts() * kBlockRows * (work.stride + 2);
  const bool share_parts = pool_.n_threads() > 1 && work.n_blocks() < kBlocksPerThread * pool_.n_threads() &&
                           walk.n_parts() > 1 && n_partials <= kMaxPartials;
  // In order of size, whole cache lines each.
  const struct {
    float*& array;
    int64_t floats;
  } arrays[] = {{work.scaled, rows * spec.kv.head_dim},
                {work.absorbed, rows * work.stride},
                {work.max, rows},
                {work.sum, rows},
                {work.acc, rows * work.stride},
                {work.means, rows * width},
                {work.values, rows * spec.kv.n_kv_heads * spec.kv.head_dim},
                {work.per_thread, pool_.n_threads() * 2 * kBlockRows * work.stride},
                {work.partials, share_parts ? n_partials : 0}};
  int64_t needed = 0;
  for (const auto& [array, floats] : arrays) needed += ceil_div(floats, 16) * 16;
  const size_t bytes = static_cast<size_t>(needed) * sizeof(float);
  if (latent_scratch_.size_bytes() < bytes) latent_scratch_ = Buffer(bytes + bytes / 4);
  float* free = latent_scratch_.floats();
  for (const auto& [array, floats] : arrays) {
    array = free;
    free += ceil_div(floats, 16) * 16;
  }

  scale_queries(work, q, spec.scale, on_host(spec.latent.k_norm).data);
  if (work.stride > width) std::fill_n(work.absorbed, rows * work.stride, 0.0f);
  absorb_queries(work, on_cpu(*spec.latent.k_proj));
  (share_parts ? walk_parts : walk_blocks)(pool_, walk, work, interrupt());
  take_values_back(work, on_cpu(*spec.latent.v_proj));
  combine(work, out, own_sums_.data());
}

void CpuOps::attend_to_latents(HostTensor q, const AttentionSpec& spec, int layer, HostTensor out) {
  const int64_t at_once = std::max<int64_t>(1, kRowsTogether / spec.n_heads);
  for (const LatentInput& input : latent_inputs_) {
    for (int64_t first = 0; first < input.n_rows; first += at_once) {
      const int64_t n = std::min(at_once, input.n_rows - first);
      attend_to_latent({input.latent, input.first_row + first, n}, q, spec, layer, out);
    }
  }
}

}  // namespace t5g
