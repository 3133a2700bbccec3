// Finds the largest output of a plane matrix exactly: upper bounds of all rows from the coarse plane, then the exact
// scores of those rows that could still win. On trained embeddings that is about one row in a hundred.
//
// The result does not depend on what is looked at in which order, so neither on the number of threads: every row that
// is left out has an upper bound below the exact score of another row.
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "ops/cpu/plane_matrix.h"
#include "ops/ops.h"
#include "tensor/buffer.h"

namespace t5g {

class HeadSearch {
 public:
  HeadSearch(ThreadPool& pool, const kernels::KernelTable& kernels) : pool_(pool), kernels_(kernels) {}

  // Whether to try for this many rows of activations: not for many, and seldom with a matrix for which it has failed.
  bool pays(int64_t n_queries);

  // False where too many rows could win.
  bool run(const PlaneMatrix& matrix, const kernels::QuantizedRows& x, float softcap, std::span<BestQuery> queries,
           Interrupt* interrupt);

  // Exact scores that the last run computed, of all queries together.
  int64_t n_scored() const { return n_scored_; }

 private:
  struct Best {
    float score;
    int32_t row;  // -1: none
  };

  void prepare(const kernels::QuantizedRows& x, size_t n_queries);
  void bound(size_t item, std::span<const BestQuery> queries);
  void score_apart(size_t query, BestQuery& q, float softcap);
  float threshold(size_t query, float softcap);
  void refine(size_t item, size_t thread, size_t n_queries, float softcap);
  void score(std::span<const int32_t> rows, size_t query, float softcap, Best& best);

  ThreadPool& pool_;
  const kernels::KernelTable& kernels_;
  kernels::Planes planes_{};
  int64_t n_groups_ = 0;
  int64_t n_items_ = 0;
  // All scratch is kept, so that a decode step allocates nothing.
  Buffer input_bytes_;  // activations in the planes' order
  std::vector<kernels::PlaneInput> inputs_;
  Buffer bounds_bytes_;  // bounds of rows and groups
  std::vector<float*> bounds_, group_bounds_;
  std::vector<Best> tops_;         // [queries, items]: the row of each item with the largest bound
  std::vector<float> thresholds_;  // rows with a bound below cannot win
  std::vector<Best> bests_;        // [threads, queries]
  std::atomic<int64_t> n_scored_{0};
  int rest_ = 0;   // calls until the next try
  int pause_ = 1;  // how long the next rest will be
};

}  // namespace t5g
