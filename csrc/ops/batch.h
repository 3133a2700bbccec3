// What the rows of one forward pass are: token ids, positions, and for each sequence which rows are its own and in
// which pages its keys and values lie. Built once per pass, uploaded once, and named by every op that asks who a row
// is.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/kv_pool.h"
#include "ops/latent.h"

namespace t5g {

struct BatchRows;

class Batch {
 public:
  // KvPages whose page numbers the batch holds.
  struct Kv {
    size_t first_number = 0;
    size_t n_numbers = 0;
    int64_t length = 0;
    bool is_run = false;
  };
  // The rows of one sequence, and what they can see.
  struct Sequence {
    int64_t first_row;
    int64_t n_rows;
    int64_t first_position;  // of the first row among the sequence's own tokens
    Kv self;                 // its own tokens, these rows included
    Kv source;               // length 0: none
    const Latent* latent;    // of the source, in the place of its keys and values; null: none
  };

  // pool: whose pages the sequences will have. All memory is kept.
  void clear(KvPool& pool) {
    pool_ = &pool;
    ids_.clear();
    positions_.clear();
    page_numbers_.clear();
    sequences_.clear();
  }
  // The next tokens of a sequence, at first_position and after; self has room for them.
  void add_tokens(std::span<const int32_t> ids, int64_t first_position, const KvPages& self, const KvPages& source = {},
                  const Latent* latent = nullptr) {
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    add_rows(std::ssize(ids), first_position, self, source, latent);
  }
  // Rows that are no tokens: patches of an image. A batch has either such or tokens.
  void add_rows(int64_t n_rows, int64_t first_position, const KvPages& self, const KvPages& source = {},
                const Latent* latent = nullptr) {
    const int64_t first = this->n_rows();
    sequences_.push_back({first, n_rows, first_position, keep(self), keep(source), latent});
    for (int64_t i = 0; i < n_rows; ++i) positions_.push_back(static_cast<int32_t>(first_position + i));
  }

  KvPool& pool() const { return *pool_; }
  int64_t n_rows() const { return static_cast<int64_t>(positions_.size()); }
  std::span<const int32_t> ids() const { return ids_; }              // [R], or none
  std::span<const int32_t> positions() const { return positions_; }  // [R]
  std::span<const Sequence> sequences() const { return sequences_; }
  KvPages pages(const Kv& kv) const {
    return {std::span(page_numbers_).subspan(kv.first_number, kv.n_numbers), kv.length, kv.is_run};
  }

  // The first so many have keys and values of their own. The rest, at the end of the last sequence and beyond its
  // length, are padding: they only look.
  int64_t n_rows_with_keys() const {
    if (sequences_.empty()) return 0;
    const Sequence& last = sequences_.back();
    const int64_t beyond = last.first_position + last.n_rows - last.self.length;
    return n_rows() - (beyond > 0 ? beyond : 0);
  }

  // The rows that are this token, in order.
  std::vector<int32_t> rows_with(int32_t id) const {
    std::vector<int32_t> rows;
    for (size_t i = 0; i < ids_.size(); ++i) {
      if (ids_[i] == id) rows.push_back(static_cast<int32_t>(i));
    }
    return rows;
  }

  BatchRows rows(int64_t first, int64_t n) const;
  BatchRows all() const;

 private:
  Kv keep(const KvPages& kv) {
    const size_t first = page_numbers_.size();
    // Not insert(): of it gcc 12, with -O3, warns of an overflow that cannot be.
    for (const int32_t page : kv.pages) page_numbers_.push_back(page);
    return {first, kv.pages.size(), kv.length, kv.is_run};
  }

  KvPool* pool_ = nullptr;
  std::vector<int32_t> ids_, positions_, page_numbers_;
  std::vector<Sequence> sequences_;
};

// Some rows of a batch: those that an op's tensors have. Read when the op is called, though it may run later: after
// the call the batch may change.
struct BatchRows {
  const Batch* batch;
  int64_t first;
  int64_t n;

  std::span<const int32_t> ids() const { return part(batch->ids()); }
  std::span<const int32_t> positions() const { return part(batch->positions()); }

 private:
  std::span<const int32_t> part(std::span<const int32_t> all) const {
    return all.subspan(static_cast<size_t>(first), static_cast<size_t>(n));
  }
};

inline BatchRows Batch::rows(int64_t first, int64_t n) const {
  assert(first >= 0 && n >= 0 && first + n <= n_rows());
  return {this, first, n};
}
inline BatchRows Batch::all() const { return {this, 0, n_rows()}; }

}  // namespace t5g
