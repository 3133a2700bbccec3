// Answers about rows of logits that are in device memory: some of them, the best, log-sum-exp. A row is looked at by
// groups, each with the same columns whatever the number of rows; a second kernel merges what they found.
#pragma once

#include "kernels/gpu/args.h"
#include "kernels/gpu/prelude.h"

namespace t5g {
namespace gpu {

CONSTEXPR u32 kSearchWarps = kSearchThreads / kWarpLanes;

struct SearchShared {
  Scored best[2][kSearchWarps];
};
struct SumShared {
  f32 largest[kSearchWarps], sum[kSearchWarps];
};

// Larger values first, lower ids first among equals.
GPU_FN bool is_better(PRIVATE const Scored& a, PRIVATE const Scored& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}
// The better of two, either of which may be none.
GPU_FN Scored better_of(PRIVATE const Scored& a, PRIVATE const Scored& b) {
  return b.id >= 0 && (a.id < 0 || is_better(b, a)) ? b : a;
}
GPU_FN Scored no_token() { return Scored{minus_infinity(), -1}; }

struct BetterOf {
  static GPU_FN Scored of(PRIVATE const Scored& a, PRIVATE const Scored& b) { return better_of(a, b); }
};

// The best of what the group's threads have, in all of them. turn: how often it was asked before; who still reads the
// answer of the turn before is not overtaken by the turn after this one, as there is a barrier in each.
GPU_FN Scored group_best(SHARED SearchShared& shared, u32 turn, Scored best, Thread t) {
  best = lanes_combined<kWarpLanes, BetterOf>(best);
  if (t.lane == 0) shared.best[turn % 2][t.warp] = best;
  group_barrier();
  best = shared.best[turn % 2][0];
  for (u32 w = 1; w < kSearchWarps; ++w) {
    const Scored other = shared.best[turn % 2][w];
    best = better_of(best, other);
  }
  return best;
}

GPU_FN bool is_apart(CONSTANT IdLists& lists, u32 row, i32 id) {
  u32 low = lists.first[row], high = lists.first[row + 1];
  while (low < high) {
    const u32 middle = (low + high) / 2;
    const bool below = lists.ids[middle] < id;
    low = below ? middle + 1 : low;
    high = below ? high : middle;
  }
  return low < lists.first[row + 1] && lists.ids[low] == id;
}

GPU_FN f32 subtracted(CONSTANT SelectArgs& args, u32 row) { return args.less[row] != 0 ? args.log_sum_exp[row] : 0.f; }

GPU_FN void pick_logits(CONSTANT SelectArgs& args, SHARED Nothing&, Thread t) {
  const u32 row = t.group_x, last = args.apart.first[row + 1];
  const f32 less = subtracted(args, row);
  for (u32 i = args.apart.first[row] + t.index; i < last; i += kSearchThreads) {
    const i32 id = args.apart.ids[i];
    const bool known = id >= 0 && static_cast<u32>(id) < args.vocab;
    args.values[i] =
        known ? args.logits[static_cast<u64>(row) * args.vocab + static_cast<u32>(id)] - less : minus_infinity();
  }
}

// n_best times the best of those that come after the one found before.
GPU_FN void best_logits(CONSTANT SelectArgs& args, SHARED SearchShared& shared, Thread t) {
  const u32 row = t.group_y, begin = t.group_x * kSearchCols, end = min_u32(begin + kSearchCols, args.vocab);
  GLOBAL const f32* logits = args.logits + static_cast<u64>(row) * args.vocab;
  GLOBAL Scored* found = args.found + (static_cast<u64>(row) * args.groups + t.group_x) * args.n_best;
  const f32 less = subtracted(args, row);
  Scored before = no_token();
  for (u32 n = 0; n < args.n_best; ++n) {
    Scored best = no_token();
    for (u32 i = begin + t.index; i < end; i += kSearchThreads) {
      const Scored own{logits[i] - less, static_cast<i32>(i)};
      // Ids rise: of equal ones the first is kept. NaN is above nothing.
      if (!(own.value > best.value) || (n > 0 && !is_better(before, own))) continue;
      // Rarely reached.
      if (!is_apart(args.apart, row, own.id)) best = own;
    }
    before = group_best(shared, n, best, t);
    if (t.index == 0) found[n] = before;
    if (before.id >= 0) continue;
    for (u32 i = n + 1 + t.index; i < args.n_best; i += kSearchThreads) found[i] = before;
    return;
  }
}

GPU_FN void best_merge(CONSTANT SelectArgs& args, SHARED SearchShared& shared, Thread t) {
  const u32 row = t.group_x;
  const u64 n_found = static_cast<u64>(args.groups) * args.n_best;
  GLOBAL const Scored* found = args.found + row * n_found;
  GLOBAL Scored* to = args.best + static_cast<u64>(row) * args.n_best;
  Scored before = no_token();
  for (u32 n = 0; n < args.n_best; ++n) {
    Scored best = no_token();
    NO_UNROLL for (u64 i = t.index; i < n_found; i += kSearchThreads) {
      const Scored own = found[i];
      if (own.id >= 0 && (n == 0 || is_better(before, own))) best = better_of(best, own);
    }
    before = group_best(shared, n, best, t);
    if (t.index == 0) to[n] = before;
    if (before.id >= 0) continue;
    for (u32 i = n + 1 + t.index; i < args.n_best; i += kSearchThreads) to[i] = before;
    return;
  }
}

// Largest and sum of what the threads have, in thread 0.
struct LargestSum {
  f32 largest, sum;
};
GPU_FN LargestSum group_sum(SHARED SumShared& shared, PRIVATE const LargestSum& own, Thread t) {
  const f32 largest = lanes_max<kWarpLanes>(own.largest);
  const f32 factor = own.largest > minus_infinity() ? exp2_((own.largest - largest) * kLog2E) : 0;
  const f32 sum = lanes_sum<kWarpLanes>(own.sum * factor);
  if (t.lane == 0) {
    shared.largest[t.warp] = largest;
    shared.sum[t.warp] = sum;
  }
  group_barrier();
  LargestSum all{minus_infinity(), 0};
  if (t.index != 0) return all;
  for (u32 w = 0; w < kSearchWarps; ++w) all.largest = max_(all.largest, shared.largest[w]);
  for (u32 w = 0; w < kSearchWarps; ++w) {
    if (shared.largest[w] > minus_infinity())
      all.sum = mul_add(shared.sum[w], exp2_((shared.largest[w] - all.largest) * kLog2E), all.sum);
  }
  return all;
}

GPU_FN void log_sum_exp(CONSTANT SelectArgs& args, SHARED SumShared& shared, Thread t) {
  const u32 row = t.group_y, begin = t.group_x * kSearchCols, end = min_u32(begin + kSearchCols, args.vocab);
  GLOBAL const f32* logits = args.logits + static_cast<u64>(row) * args.vocab;
  LargestSum own{minus_infinity(), 0};
  for (u32 i = begin + t.index; i < end; i += kSearchThreads) own.largest = max_(own.largest, logits[i]);
  for (u32 i = begin + t.index; i < end; i += kSearchThreads) {
    if (own.largest > minus_infinity()) own.sum += exp2_((logits[i] - own.largest) * kLog2E);
  }
  const LargestSum all = group_sum(shared, own, t);
  if (t.index != 0) return;
  GLOBAL f32* to = args.partial + 2 * (static_cast<u64>(row) * args.groups + t.group_x);
  to[0] = all.largest;
  to[1] = all.sum;
}

GPU_FN void log_sum_exp_merge(CONSTANT SelectArgs& args, SHARED SumShared& shared, Thread t) {
  GLOBAL const f32* from = args.partial + 2 * static_cast<u64>(t.group_x) * args.groups;
  LargestSum own{minus_infinity(), 0};
  for (u32 g = t.index; g < args.groups; g += kSearchThreads) own.largest = max_(own.largest, from[2 * g]);
  for (u32 g = t.index; g < args.groups; g += kSearchThreads) {
    if (from[2 * g] > minus_infinity())
      own.sum = mul_add(from[2 * g + 1], exp2_((from[2 * g] - own.largest) * kLog2E), own.sum);
  }
  const LargestSum all = group_sum(shared, own, t);
  if (t.index == 0) args.log_sum_exp[t.group_x] = all.largest + log2_(all.sum) * kLn2;
}

}  // namespace gpu
}  // namespace t5g
