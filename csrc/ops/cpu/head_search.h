// Finds the largest output of a plane matrix exactly: upper bounds of all rows from the coarse plane and a part of the
// fine one, then the exact scores of those groups of 16 rows in which one could still win.
//
// The result does not depend on what is looked at in which order, so neither on the number of threads: every row that
// is left out has an upper bound below the exact score of another row.
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cpu/kernels.h"
#include "ops/cpu/plane_matrix.h"

namespace t5g {

// The largest logit of a row, asked for without a wish for the others.
struct BestQuery {
  std::span<const int32_t> apart;  // ids whose own logits are asked for, ascending and without repeats
  float* apart_logits = nullptr;   // out [apart.size()]
  // Tokens that may be the best, as in Selection; empty: all may.
  std::span<const uint32_t> allowed = {};
  int64_t best = -1;     // out: the id of the largest logit of all others, the first among equals;
  float best_logit = 0;  //      -1 where none is above -infinity
};

class HeadSearch {
 public:
  HeadSearch(ThreadPool& pool, const kernels::KernelTable& kernels) : pool_(pool), kernels_(kernels) {}

  // Whether to try for this many rows of activations: not for many, and seldom with a matrix for which it has failed.
  bool pays(int64_t n_queries);

  // False where too many groups could win. At most kMaxQueries queries.
  bool run(const PlaneMatrix& matrix, const kernels::QuantizedRows& x, float softcap, std::span<BestQuery> queries,
           Interrupt* interrupt);

  // The logits of the tokens that are apart alone, of any number of queries.
  void run_apart(const PlaneMatrix& matrix, const kernels::QuantizedRows& x, float softcap,
                 std::span<BestQuery> queries, Interrupt* interrupt);

  // Groups that the last run scored exactly after their bounds were known.
  int64_t n_scored() const { return n_scored_; }

  // A tile of the kernels: more rows are limited by arithmetic, of which a search saves nothing.
  static constexpr int64_t kMaxQueries = 8;

 private:
  struct Best {
    float score;
    int32_t row;  // -1: none
  };
  struct Top {
    float bound;
    int32_t group;
  };

  void measure(const PlaneMatrix& matrix, const kernels::QuantizedRows& x, size_t n_queries);
  void prepare(const PlaneMatrix& matrix, const kernels::QuantizedRows& x, size_t n_queries);
  void choose_exact_blocks(size_t n_queries);
  void bound(size_t item, std::span<const BestQuery> queries);
  void keep_allowed_bounds(std::span<const uint32_t> allowed, size_t query, int64_t first, int64_t last,
                           const float* rows);
  void find_thresholds(std::span<const BestQuery> queries, float softcap);
  void refine(size_t item, size_t thread, std::span<const BestQuery> queries, float softcap);
  bool adapt();
  // Of apart[begin, end), whose ids are apart from those of other calls.
  void score_apart(size_t query, BestQuery& q, size_t begin, size_t end, float softcap);
  // Exact scores [n_queries, 16 * groups] of queries [first, first + n_queries).
  void score(std::span<const int32_t> groups, size_t first, size_t n_queries, float softcap, float* scores);
  // Raises bests[i] to the best of the scored rows that take part for query i.
  void raise(std::span<const int32_t> groups, const float* scores, std::span<const BestQuery> queries, Best* bests);

  ThreadPool& pool_;
  const kernels::KernelTable& kernels_;
  kernels::Planes planes_{};
  kernels::PlaneRows x_{};
  int64_t n_groups_ = 0;
  int64_t n_items_ = 0;
  // All scratch is kept, so that a decode step allocates nothing.
  std::vector<float> norms_, offsets_;  // of the activations' blocks
  std::vector<uint8_t> exact_;          // blocks that bounds take from both planes
  std::vector<float> shares_;           // of the norm of all queries, per block
  std::vector<int32_t> order_;          // of blocks
  std::vector<float> bounds_;           // [queries, groups]
  std::vector<Top> tops_;               // [queries, items]: the group of each item with the largest bound
  std::vector<float> thresholds_;       // groups with a bound below cannot win
  std::vector<Best> bests_;             // [threads, queries]
  std::atomic<int64_t> n_scored_{0};
  int64_t n_exact_ = -1;  // blocks that bounds take from both planes; -1: not chosen yet
  int rest_ = 0;          // calls until the next try
  int pause_ = 1;         // how long the next rest will be
};

}  // namespace t5g
