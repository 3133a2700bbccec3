// The arguments of every kernel: one struct each, laid out alike for the host and all devices. Pointers are device
// addresses, aligned to 16 bytes unless said otherwise; tensors are f32 and dense, [rows, cols].
//
// "Grid" says how many groups a launch needs; kernels.inc says how many threads a group has.
#pragma once

#include "kernels/gpu/types.h"

namespace t5g {
namespace gpu {

// ---- Weights --------------------------------------------------------------------------------------------------------

CONSTEXPR u32 kBlock = 32;  // values that share a scale; rows of weights are padded with zeros to whole blocks

// A matrix [n, k] as formats.h lays it out and pack.h makes it.
struct Weight {
  GLOBAL const u8* values;
  GLOBAL const u16* scales;  // quantised types
  GLOBAL const u32* high;    // q5_0, q5_1
  u32 n, k;
};

// Where x W^T goes.
CONSTEXPR u32 kHasBias = 1;  // + bias
CONSTEXPR u32 kAddsOut = 2;  // + what is in out
struct Projection {
  Weight weight;
  GLOBAL const f32* bias;  // [n]
  GLOBAL f32* out;         // [m, n]
  u32 flags;
  u32 first_tile;  // columns of tiles of the projections before this one
};

CONSTEXPR u32 kMaxProjections = 3;

// A logit and its token; id -1: none.
struct Scored {
  f32 value;
  i32 id;
};

// Ids of each row that are set apart: ids[first[row]] ... ids[first[row + 1] - 1], ascending.
struct IdLists {
  GLOBAL const i32* ids;
  GLOBAL const u32* first;  // [rows + 1]
};

// ---- A decoder's linear layers --------------------------------------------------------------------------------------

CONSTEXPR u32 kMatvecThreads = 128;
CONSTEXPR u32 kMatvecCols = 16;  // of a tile
CONSTEXPR u32 kMatvecPairs = 8;  // of a tile, with kGeglu
CONSTEXPR u32 kMaxMatvecRows = 8;

// Where the rows h [m, k] come from that are multiplied: every group makes them for itself.
CONSTEXPR u32 kFromRows = 0;   // h = x
CONSTEXPR u32 kFromNorm = 1;   // h = rms_norm(x)
CONSTEXPR u32 kFromSum = 2;    // y = x + rms_norm(added), h = rms_norm(y); y also goes to x_out, which is not x
CONSTEXPR u32 kFromParts = 3;  // h = attention's parts in `x` (acc) and `added` (state), merged; k = heads * head_dim
struct MatvecInput {
  GLOBAL const f32* x;             // [m, k]
  GLOBAL const f32* weight;        // [k], of the norm that makes h
  GLOBAL const f32* added;         // [m, k]
  GLOBAL const f32* added_weight;  // [k], of the norm of what is added
  GLOBAL f32* x_out;               // [m, k]
  u32 kind;
  f32 eps;
  u32 head_dim, parts;  // kFromParts
};

// What becomes of the sums.
CONSTEXPR u32 kStore = 0;  // out, as the projections say
CONSTEXPR u32 kGeglu = 1;  // projections[0].out = gelu_tanh(h W0^T) * (h W1^T)
CONSTEXPR u32 kBest = 2;   // the best output of each row among a group's tiles: found[row * groups + group]

// matvec_<type>_<rows>: rows is the number of rows that a group multiplies, 1 or 8; m may be larger or smaller.
// For quantised weights h is rounded to int8 with a scale for 32 values; for float types it is f32. Results do not
// depend on `rows` or m. All weights are of the type. Grid (groups, ceil(m / rows)): with kStore groups = tiles of
// kMatvecCols columns of all projections (first_tile counts those), with kGeglu tiles of kMatvecPairs columns, with
// kBest any number, whose groups share the tiles of kMatvecCols columns.
struct MatvecArgs {
  MatvecInput input;
  u32 m, k;
  u32 n_projections, finish;
  u32 groups;            // kBest: the grid's
  f32 softcap;           // kBest; 0: none
  IdLists apart;         // kBest: of each row
  GLOBAL Scored* found;  // kBest: [m, groups]
  Projection projections[kMaxProjections];
};

// ---- An encoder's linear layers -------------------------------------------------------------------------------------

CONSTEXPR u32 kMatmulThreads = 128;
CONSTEXPR u32 kMatmulRows = 64;
CONSTEXPR u32 kMatmulCols = 64;

// matmul_<type>: x and weights are rounded to bfloat16, or with F32 and F16 weights are sums of them. All weights
// are of the type. Grid (tiles of kMatmulCols columns of all projections, tiles of kMatmulRows rows).
struct LinearArgs {
  GLOBAL const f32* x;  // [m, k]; any alignment of 4, and of 16 where k is a multiple of 4
  u32 m, k;
  u32 n_projections, unused;
  Projection projections[kMaxProjections];
};

// ---- Rows -----------------------------------------------------------------------------------------------------------

CONSTEXPR u32 kRowThreads = 128;  // of kernels that give a row, or a part of one, to a warp or a group

// embed_<type>: out[row] = scale * table[ids[row]], or `special` as it is for the token special_id. Grid (rows).
// add_rows_<type>: out[row] += table[first + row]; ids unused. Grid (rows).
struct TableArgs {
  Weight table;  // k: columns of out
  GLOBAL const i32* ids;
  GLOBAL const f32* special;
  GLOBAL f32* out;
  f32 scale;
  i32 special_id;  // -1: none
  u32 first, unused;
};

// gather_rows: out[i] = x[places[i]]. scatter_rows: out[places[i]] = x[i]. Grid (number of places).
struct MoveArgs {
  GLOBAL const f32* x;
  GLOBAL const i32* places;
  GLOBAL f32* out;
  u32 cols, unused;
};

CONSTEXPR u32 kNormRows = 4;  // rows, or heads, of a group: one for each warp
// rms_norm: out = x / rms(x) * weight. out may be x; for norms of heads x is [rows * heads, head_dim].
// add_rms_norm: out += rms_norm(x).
// layer_norm: out = (x - mean) / sqrt(variance + eps) * weight + bias. out may be x.
// Grid (ceil(rows / kNormRows)).
struct NormArgs {
  GLOBAL const f32* x;
  GLOBAL const f32* weight;  // [cols]
  GLOBAL const f32* bias;    // [cols], layer_norm
  GLOBAL f32* out;
  u32 rows, cols;
  f32 eps;
  u32 unused;
};

// rope: rotates each head of each row by position * inv_freq, in place. Grid (rows).
struct RopeArgs {
  GLOBAL f32* x;  // [rows, heads * head_dim]
  GLOBAL const i32* positions;
  GLOBAL const f32* inv_freq;  // [head_dim / 2]
  u32 heads, head_dim;
};

CONSTEXPR u32 kElementsPerGroup = 1024;
// geglu: a = gelu_tanh(a) * b. Grid (ceil(size / kElementsPerGroup)), size = rows * cols.
// bias_gelu: a = gelu_tanh(a + b), b [cols].
// softcap: a = cap * tanh(a / cap).
struct ElementArgs {
  GLOBAL f32* a;  // [rows, cols]
  GLOBAL const f32* b;
  u64 size;
  u32 cols;
  f32 cap;
};

// ---- Images ---------------------------------------------------------------------------------------------------------

// patches: out[i] = patch first + i, ordered (channel, row, column). Grid (rows).
struct PatchArgs {
  GLOBAL const u8* pixels;  // [image_size, image_size, 3]
  GLOBAL f32* out;          // [rows, 3 * patch_size^2]
  u32 image_size, patch_size, first, unused;
  f32 mean[3], std[3];  // of channels, values being in [0, 1]
};

// mean_pool: rows of x are a grid, side x side; out: means of its windows. Grid (rows of out).
struct PoolArgs {
  GLOBAL const f32* x;
  GLOBAL f32* out;
  u32 side, window, cols, unused;
};

// ---- Keys and values ------------------------------------------------------------------------------------------------

CONSTEXPR u32 kChunkKeys = 64;  // tokens of a page

// Where a page begins: the address of its first slot.
struct Page {
  GLOBAL u8* data;
};

// Keys and values of one sequence or source. Chunk c of layer l is at pages[first_page + c] + l * layer_bytes: of
// single pages layer_bytes is a slot; of a run, pages[first_page + c] is the run's c-th slot, and layer_bytes are
// all chunks' slots.
struct KvSpan {
  u64 layer_bytes;
  u32 first_page;
  u32 length;  // tokens; 0: none
};

// One sequence of a batch.
struct Sequence {
  KvSpan self, source;
  u32 first_row, n_rows;  // of the batch
  u32 first_position;
  u32 unused;
};

// The batch as it was uploaded. Everything is of whole batches: ops on some of its rows say where theirs begin.
struct BatchView {
  GLOBAL const Page* pages;
  GLOBAL const Sequence* sequences;
  GLOBAL const u32* row_sequence;  // [batch rows]: whose row it is
  GLOBAL const i32* positions;     // [batch rows]
};

// store_kv_<type>: rows' own keys and values, in one layer. Grid (rows, kv_heads).
struct StoreKvArgs {
  GLOBAL const f32* k;  // [rows, kv_heads * head_dim]
  GLOBAL const f32* v;
  BatchView batch;
  u32 first_row;  // of the batch
  u32 layer, kv_heads, head_dim;
};

// copy_page: 16 bytes a thread. Grid (ceil(bytes / 16 / kRowThreads)).
struct CopyArgs {
  GLOBAL const u8* from;
  GLOBAL u8* to;
  u64 bytes;  // a multiple of 16
};

CONSTEXPR u32 kSelfKeys = 1, kSourceKeys = 2;  // `segments`
CONSTEXPR u32 kAttentionThreads = 32;
CONSTEXPR u32 kDecodePartChunks = 2;       // part_chunks of a decoder's passes,
CONSTEXPR u32 kWholePartChunks = 1 << 24;  // and of an encoder's: all own keys are one part

// attention_<type>: one softmax over a row's own keys and its source's. The plain one, for every head_dim and type.
// Keys are looked at in parts: of part_chunks chunks, beginning at multiples of it, first those of the own keys that
// the row sees, then the source's. Each part's softmax is computed on its own and merged in order, so a result depends
// on part_chunks, and on nothing else of the launch. Grid (rows, heads, parts); parts: at least those of the row that
// has most of them. With one part, `out` is the result. With more, `acc` and `state` are, for attention_merge.
struct AttentionArgs {
  GLOBAL const f32* q;  // [rows, heads * head_dim]
  GLOBAL f32* out;      // [rows, heads * head_dim]
  GLOBAL f32* acc;      // [parts, rows, heads, head_dim], where parts > 1
  GLOBAL f32* state;    // [parts, rows, heads, 2], where parts > 1: largest score (base 2) and sum
  BatchView batch;
  u32 rows, first_row;  // first_row: of the batch
  u32 layer, segments;
  u32 heads, kv_heads, head_dim;
  u32 parts, part_chunks;
  u32 before, after;  // window on the own keys: j in [i - before, i + after]
  f32 scale;          // of scores, times log2(e)
  f32 softcap;        // times log2(e); 0: none
  u32 unused;
};

CONSTEXPR u32 kMergeHeads = 4;  // of a group
CONSTEXPR u32 kMergeHeadThreads = 128;
CONSTEXPR u32 kMergeThreads = kMergeHeads * kMergeHeadThreads;

// attention_merge: parts -> out. Grid (ceil(rows * heads / kMergeHeads)).
struct AttentionMergeArgs {
  GLOBAL const f32* acc;
  GLOBAL const f32* state;
  GLOBAL f32* out;
  u32 rows, heads, head_dim, parts;
};

CONSTEXPR u32 kFlashThreads = 128;
CONSTEXPR u32 kFlashRows = 16;  // of a tile, with `tiles` 1

// Some rows of one sequence that a group looks after: n_rows * (heads / kv_heads) is at most kFlashRows * `tiles`.
struct AttentionTile {
  u32 sequence, first_row, n_rows, unused;  // first_row: of the batch
};

// What a tile does with its rows' queries first, and with their own keys and values, which then need no kernels of
// theirs. kPrepareStore is for tiles that have all new rows of their sequences: no group may read what another stores.
CONSTEXPR u32 kPrepareNorm = 1;    // queries (and keys) are rms_normed, head by head
CONSTEXPR u32 kPrepareRope = 2;    // and rotated
CONSTEXPR u32 kPrepareStore = 4;   // keys and values are stored; then `segments` has kSelfKeys
CONSTEXPR u32 kHasSplitTiles = 8;  // rows of one sequence are in several tiles: never together with kPrepareStore
struct Prepare {
  GLOBAL const f32* q_norm;    // [head_dim]
  GLOBAL const f32* k_norm;    // [head_dim]
  GLOBAL const f32* inv_freq;  // [head_dim / 2]
  GLOBAL const f32* k;         // [rows, kv_heads * head_dim]
  GLOBAL const f32* v;
  u32 flags;
  f32 eps;
};

// flash_<type>_<dims>_<tiles>: attention in fragments, for keys and values in F16 (queries and weights are rounded to
// half) and BF16 (to bfloat16); head_dim rounded up to 16 is at most dims. Which there are, flash_for() knows. A group
// has 16 * tiles rows, 1 for few queries and 2 for many; results of the two differ in their last bits. Parts as in
// `attention`, those that any row of the tile sees, merged by attention_merge or kFromParts. Grid (tiles, kv_heads,
// parts).
struct FlashArgs {
  AttentionArgs attention;  // row_sequence and positions are not used
  GLOBAL const AttentionTile* tiles;
  Prepare prepare;
};

// ---- Latent sources -------------------------------------------------------------------------------------------------

// A look is one head of one row. Looks of a key/value head lie together: [kv_heads, rows, heads / kv_heads].
CONSTEXPR u32 kLatentThreads = 128;
CONSTEXPR u32 kLatentLooks = 4;   // of a group
CONSTEXPR u32 kAbsorbCols = 512;  // of a group

// absorb: absorbed = q * norm, times the head's rows of k_proj. Grid (ceil(width / kAbsorbCols), ceil(rows * heads /
// kv_heads / kLatentLooks), kv_heads).
struct AbsorbArgs {
  Weight k_proj;           // [kv_heads * head_dim, width]
  GLOBAL const f32* norm;  // [head_dim], where has_norm
  GLOBAL const f32* q;     // [rows, heads * head_dim]
  GLOBAL f32* absorbed;    // [looks, width]
  u32 type;                // of k_proj: its row of quant/types.inc
  u32 has_norm, rows, heads, kv_heads, head_dim;
};

// latent_attention_<type>: softmax over n rows of the encoder's output, and the sum of the rows. Parts as in
// `attention`: of part_chunks chunks of 64 rows, merged by attention_merge, whose head_dim is `width`. Grid (ceil(looks
// / kLatentLooks), kv_heads, parts).
struct LatentArgs {
  GLOBAL const f32* absorbed;  // [kv_heads * looks, width]
  GLOBAL const u8* states;     // [n] rows of row_bytes
  GLOBAL const f32* scales;    // [kv_heads, n], of the scores, where has_scales
  GLOBAL f32* acc;             // [parts, kv_heads * looks, width]
  GLOBAL f32* state;           // [parts, kv_heads * looks, 2]
  u32 n, width, row_bytes, has_scales;
  u32 looks, kv_heads;  // looks: of one key/value head
  u32 part_chunks;
  f32 scale, softcap;  // as in `attention`
  u32 unused;
};

// latent_combine: out = what attention to the row's own keys has left there and `values`, what was found in the source,
// as one softmax's result. Grid (rows * heads).
struct LatentCombineArgs {
  GLOBAL const f32* own_state;  // [own_parts, own_rows, heads, 2], of which rows from own_first on are these
  GLOBAL const f32* state;      // [parts, looks, 2]
  GLOBAL const f32* values;     // [looks, head_dim]
  GLOBAL f32* out;              // [rows, heads * head_dim]
  u32 own_parts, own_rows, own_first;
  u32 parts, rows, heads, kv_heads, head_dim;
};

// scale_latent: scales[head][first + row] = 1 / rms of that head of k. Grid (ceil(rows * kv_heads / kNormRows)).
struct LatentScaleArgs {
  GLOBAL const f32* k;  // [rows, kv_heads * head_dim]
  GLOBAL f32* scales;   // [kv_heads, n]
  u32 rows, first, n, kv_heads, head_dim;
  f32 eps;
};

// ---- The head -------------------------------------------------------------------------------------------------------

CONSTEXPR u32 kSearchThreads = 128;
CONSTEXPR u32 kSearchCols = 4096;  // of a row that one group looks at
CONSTEXPR u32 kMaxBest = 128;

// pick_logits: values[i] = logit of ids[i] in its row, less the row's log-sum-exp where `less` says so; -infinity for
// an id outside the vocabulary. Grid (rows). best_logits: each group's n_best best of its columns, by larger value,
// then lower id, without the ids set apart, NaN and -infinity, to found[row][group][n_best]. Grid (groups = ceil(vocab
// / kSearchCols), rows). best_merge: found[row] -> best[row][n_best], best first. Grid (rows). log_sum_exp: each
// group's largest and sum to partial[row][group]. Grid (groups, rows). log_sum_exp_merge: partial[row] ->
// log_sum_exp[row]. Grid (rows).
struct SelectArgs {
  GLOBAL const f32* logits;  // [rows, vocab]
  IdLists apart;
  GLOBAL f32* values;       // pick_logits
  GLOBAL Scored* found;     // [rows, groups, n_best]
  GLOBAL Scored* best;      // [rows, n_best]
  GLOBAL f32* partial;      // [rows, groups, 2]
  GLOBAL f32* log_sum_exp;  // [rows]
  GLOBAL const u32* less;   // [rows]: 1 where values are log-probabilities, else 0
  u32 vocab, groups, n_best, rows;
};

// ---- The device itself ----------------------------------------------------------------------------------------------

CONSTEXPR u32 kProbeThreads = 32;

// probe: verifies where lanes hold elements of fragments. Grid (1).
struct ProbeArgs {
  GLOBAL u32* out;  // [32][4]: row * 256 + column that each lane believes to hold, or 0xFFFFFFFF where that is wrong
};

}  // namespace gpu
}  // namespace t5g
