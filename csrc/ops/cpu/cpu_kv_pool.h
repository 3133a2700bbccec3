// The CPU's pool: every take() is a block of memory of its own, found by the numbers of its pages. Blocks of one page
// are kept for the next sequence, up to a limit; those of sources go back to the system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "ops/batch.h"
#include "ops/device.h"
#include "ops/kv_pool.h"

namespace t5g {

// Keys and values of one sequence or source, where they lie.
struct HostKv {
  std::byte* run = nullptr;           // the first page of a run,
  std::byte* const* pages = nullptr;  // or each page
  int64_t n_chunks = 0;
  int64_t length = 0;      // tokens
  int64_t slot_bytes = 0;  // of one layer's keys and values of one chunk

  std::byte* chunk(int layer, int64_t c) const {
    return run != nullptr ? run + (layer * n_chunks + c) * slot_bytes : pages[c] + layer * slot_bytes;
  }
};

class CpuKvPool : public KvPool {
 public:
  // The device must outlive the last take(), not the pages.
  CpuKvPool(Device& device, const KvFormat& format, int n_layers, int64_t slot_bytes)
      : device_(device), format_(format), n_layers_(n_layers), slot_bytes_(slot_bytes) {}

  const KvFormat& format() const { return format_; }
  int n_layers() const override { return n_layers_; }
  int64_t page_bytes() const override { return n_layers_ * slot_bytes_; }
  int32_t take(int64_t n) override;
  void give_back(int32_t first) noexcept override;
  void forget(int32_t page, int first_layer, int n_layers) noexcept override;
  void copy(int32_t from, int32_t to) override;

  // Where pages lie; their addresses are written to `pages`, which has room for them.
  HostKv locate(const KvPages& kv, std::byte** pages);

 private:
  struct Page {
    std::byte* data = nullptr;        // null: the number is free
    std::unique_ptr<Storage> memory;  // of all pages of the run that begins here
    int64_t n = 0;                    // pages of that run
  };
  size_t find_numbers(size_t n);

  Device& device_;
  const KvFormat format_;
  const int n_layers_;
  const int64_t slot_bytes_;
  std::mutex mutex_;
  std::vector<Page> pages_;     // by number
  std::vector<int32_t> spare_;  // numbers of single pages with memory that nobody uses
};

}  // namespace t5g
