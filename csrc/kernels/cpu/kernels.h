// The table of CPU kernels, made from the rows of kernels.inc: one per ISA level, entries that a level does not have
// are inherited from the level below.
//
// Every kernel is deterministic in a strong sense: an output value is computed by one sequence of operations that
// depends only on its own inputs - never on the number of rows in the call, on the rows beside it, or on how callers
// split the work. That is what makes t5g's results bit-equal alone or in a batch, cached or recomputed, for any thread
// count.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "quant/types.h"

namespace t5g::kernels {

// Weight rows (outputs) that are packed together: the lanes of one 512-bit register of 32-bit sums.
inline constexpr int kGroupRows = 16;
// Activations are quantised to int8 in blocks of this many values, one scale each.
inline constexpr int kBlock = 32;
// Weights and activations of type BF16 are multiplied and added in pairs; the last one of an odd number is padded.
inline constexpr int64_t padded_to_pairs(int64_t k) { return (k + 1) / 2 * 2; }
// Keys of one attention chunk, of which a part has one or several (see kv_layout.h). A part's result is computed on its
// own and then merged, in order of parts, so that it does not matter which thread computes it.
inline constexpr int kChunkKeys = 64;
// Keys of one K tile: keys are stored transposed in tiles [head_dim][kTileKeys], so that one register holds 16 keys.
inline constexpr int kTileKeys = 16;

template <typename Args>
using KernelOf = void (*)(const Args& args);

// ---- Packed weights (see pack.h) ------------------------------------------------------------------------------------

// Rows of activations for the quantised types: int8 values with one scale per block of kBlock.
struct QuantizedRows {
  const int8_t* values;  // [m, k], round(x / scale)
  const float* scales;   // [m, k / kBlock], max |x| / 127
  const int32_t* sums;   // [m, k / kBlock], sum of the block's values: corrects for weights stored with an offset
};

// y[i, n] = sum over k of x[i, k] * w[n, k] (+ bias[n]), for packed groups [group_begin, group_end) of w.
struct MatmulArgs {
  const std::byte* weight;  // packed, group 0
  int64_t group_begin;
  int64_t group_end;
  int64_t n;  // rows of w in all (the last group may be partly padding, which is not stored)
  int64_t k;
  int64_t m;               // rows of x
  const float* x;          // [m, k]; for F32 and F16 weights
  const uint16_t* x_bf16;  // [m, padded_to_pairs(k)], from round_row; for BF16 weights
  QuantizedRows x_q;       // for the quantised types
  float* y;                // [m, ldy]; column n is y[i * ldy + n]
  int64_t ldy;
  const float* bias;  // [n]; null: none
  bool add;           // to what y holds
};

// ---- Q8_0 split into planes (see planes.h) --------------------------------------------------------------------------

// The norm of what the fine plane adds to a block is stored in units of this, rounded up.
inline constexpr float kPlaneNormUnit = 0.2f;

struct Planes {
  const std::byte* coarse;  // all three: group 0
  const std::byte* fine;
  const uint8_t* norms;
  int64_t n;
  int64_t k;
};

// Rows of activations as bounds need them (see measure_plane_input). norms, offsets: [m, k / kBlock].
struct PlaneRows {
  QuantizedRows q;
  const float* norms;    // scale times the length of the block's values, rounded up
  const float* offsets;  // what is added to the product with h, for each unit of a weight's scale
};

// y[i, 16 g + j] = output of row j of the g-th listed group for row i of x: the same bits as matmul's.
struct PlaneScoreArgs {
  Planes weight;
  const int32_t* groups;
  int64_t n_groups;
  int64_t m;
  QuantizedRows x;
  float* y;  // [m, ldy]; rows beyond weight.n are not written
  int64_t ldy;
};

// Upper bounds of the outputs of groups [group_begin, group_end). Blocks for which `exact` is not 0 are multiplied with
// both planes; the more of them, the tighter the bounds.
struct BoundArgs {
  Planes weight;
  int64_t group_begin;
  int64_t group_end;
  int64_t m;
  PlaneRows x;
  const uint8_t* exact;  // [k / kBlock]
  float* bounds;         // [m, ldb], column 0 being the first row of group_begin; the last group is written in full
  int64_t ldb;
  float* group_bounds;  // [m, ldg], column 0 being group_begin: the largest of its 16
  int64_t ldg;
};

// ---- Attention ------------------------------------------------------------------------------------------------------

// A part of the keys, one chunk or a few in a row, seen by several query rows that share its key/value head.
struct AttendArgs {
  const float* const* q;  // [rows] made by prepare_query()
  int rows;
  int head_dim;                    // any
  const std::byte* const* chunks;  // keys and values of one head, at most chunks_per_part() (see kv_layout.h)
  const std::byte* next;           // the chunk that will be asked for next, to be fetched meanwhile; or null
  int n_keys;                      // the chunks' first keys, which all rows see where `begin` is null
  const int32_t* begin;            // [rows] visible keys of the part: [begin, end), empty when begin >= end. Or null.
  const int32_t* end;              //        Of keys that nobody sees nothing is used, and their values are finite.
  float softcap;                   // c * tanh(s / c) before masking; 0 = none
  // BF16 alone: where this is set, keys and queries are int8 (see int8_keys.h), and this is the product of Q8_0.
  KernelOf<MatmulArgs> multiply_int8;
  float* max;      // out [rows]: largest visible score, or for BF16 one that may be lower; -infinity without any
  float* sum;      // out [rows]: sum of exp(score - max)
  float* acc;      // out [rows, acc_stride(head_dim)]: sum of exp(score - max) * value, zeros behind
  float* scratch;  // [attend_scratch()]
};

// A chunk of latent keys: rows of the encoder's output, whose products with absorbed queries are the scores, and which
// are their own values (see tensor/state_rows.h for how they lie). All query rows see all of them.
struct AttendLatentArgs {
  DataType type;               // F32, F16 or Q8_0
  int hidden_size;             // values of a row
  int64_t row_bytes;           // from one to the next
  const std::byte* keys;       // [n_keys] rows
  int n_keys;                  // 1 to kChunkKeys
  const std::byte* next;       // as many rows that will be asked for next, to be fetched meanwhile; or null
  const float* const* q;       // [rows], of acc_stride(hidden_size) floats each, zeros behind
  const float* const* scales;  // [rows], of a number for each key, which its scores are multiplied with; or null
  int rows;
  float softcap;  // as in AttendArgs, like what follows
  float* max;     // out [rows]
  float* sum;     // out [rows]
  float* acc;     // out [rows, acc_stride(hidden_size)]
};

// A running softmax state and a part's result, of `rows` rows: state = merge(state, part).
struct MergeArgs {
  int rows;
  int head_dim;
  float* max;
  float* sum;
  float* acc;  // [rows, acc_stride(head_dim)]
  const float* part_max;
  const float* part_sum;
  const float* part_acc;
};

// ---- The table ------------------------------------------------------------------------------------------------------

// What is done with keys and values stored in one type.
struct KvKernels {
#define T5G_KERNEL_OF_KV_TYPE(kernel, parameters) void(*kernel) parameters = nullptr;
#include "kernels/cpu/kernels.inc"
};

struct KernelTable {
  const char* name = "";           // as in T5G_CPU: "generic", "avx2", "avx512", "neon_dotprod", ...
  uint64_t required_features = 0;  // CpuFeature bits
  uint64_t worth_features = 0;     // without these it is in use only where T5G_CPU names it: it would be slower

#define T5G_KERNEL(kernel, result, parameters, shapes) result(*kernel) parameters = nullptr;
#define T5G_KERNEL_OF_ARGS(kernel, Args) KernelOf<Args> kernel = nullptr;
#define T5G_KERNEL_OF_TYPE(kernel, Args) std::array<KernelOf<Args>, kNumDataTypes> kernel = {};  // by DataType
#include "kernels/cpu/kernels.inc"
  std::array<KvKernels, kNumDataTypes> kv = {};  // likewise; empty for types that is_kv_type() says no to
};

// The table in use: the best level of this CPU that is worth it and that the operating system permits, or the one named
// by the environment variable T5G_CPU.
// Throws Unsupported, listing what there is, when T5G_CPU names a level that is unknown or that cannot run here.
const KernelTable& active();

// Every level built in, lowest first; those this CPU cannot run too.
std::vector<const KernelTable*> all_levels();
bool runs_here(const KernelTable& table);
// Names of the table's entries that are null. A level of all_levels() has none.
std::vector<std::string> empty_entries(const KernelTable& table);
// By name, throwing Unsupported as active() does.
const KernelTable& level(const std::string& name);

}  // namespace t5g::kernels
