// A GPU's pool: single pages are cut from slabs, runs are blocks of their own. Numbers are first fit.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/gpu/kernels.h"
#include "ops/gpu/queue.h"
#include "ops/kv_pool.h"

namespace t5g::gpu {

// The kernels' name for it.
KvType kv_type(DataType type);

class GpuKvPool final : public KvPool {
 public:
  // The queue must outlive the last copy(), not the pages.
  GpuKvPool(Queue& queue, std::shared_ptr<Memory> memory, const KvFormat& format, int n_layers);

  const KvFormat& format() const { return format_; }
  int64_t slot_bytes() const { return slot_bytes_; }
  int n_layers() const override { return n_layers_; }
  int64_t page_bytes() const override { return n_layers_ * slot_bytes_; }
  int32_t take(int64_t n) override;
  void give_back(int32_t first) noexcept override;
  void copy(int32_t from, int32_t to) override;

  // Appends where chunk 0, 1, ... of layer 0 begin.
  void locate(const KvPages& kv, std::vector<Address>& pages) const;

 private:
  struct Place {
    Address data = 0;                       // 0: the number is free
    std::shared_ptr<Memory::Block> memory;  // at the first page of a take()
    int64_t n = 0;
  };
  int32_t take_single();
  size_t find_numbers(size_t n);

  Queue& queue_;
  const std::shared_ptr<Memory> memory_;
  const KvFormat format_;
  const int n_layers_;
  const int64_t slot_bytes_;
  mutable std::mutex mutex_;
  std::vector<Place> places_;   // by number
  std::vector<int32_t> spare_;  // numbers of single pages that nobody uses
};

}  // namespace t5g::gpu
