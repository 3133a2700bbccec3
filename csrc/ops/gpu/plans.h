// Passes that were seen before, recorded. A decode step is the same list of launches as the one before as long as it
// has as many rows, and page tables and caches within the same bounds: what differs lies in device memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ops/gpu/driver.h"
#include "ops/gpu/fusion.h"
#include "ops/gpu/launch.h"

namespace t5g::gpu {

// Some bytes on their way between the host and the device.
struct Transfer {
  HostMemory* host;
  size_t offset;
  Address device;
  size_t size_bytes;
  bool operator==(const Transfer&) const = default;
};

// What is sent off together: uploads, launches, downloads.
struct Pass {
  std::vector<Transfer> uploads;
  std::vector<Launch> launches;
  std::vector<Transfer> downloads;
  bool is_whole = false;  // nothing comes after it that reads what it has left for later ops

  bool empty() const { return uploads.empty() && launches.empty() && downloads.empty(); }
  void clear() {
    uploads.clear();
    launches.clear();
    downloads.clear();
    is_whole = false;
  }
  bool operator==(const Pass&) const = default;
};

// Enqueues it as it is.
void enqueue(Driver& driver, const Pass& pass);

class Plans {
 public:
  explicit Plans(std::shared_ptr<Memory> memory) : fusion_(std::move(memory)) {}

  // Enqueues a pass of the decoder, fused: by its plan, which is made when an equal pass comes for the second time.
  void enqueue(Driver& driver, const Pass& pass);
  // When the device is idle: before memory that plans name goes.
  void clear() { plans_.clear(); }

 private:
  // What the generations of a busy server alternate between; a plan takes about 100 KB.
  static constexpr size_t kMaxPlans = 48;

  struct Known {
    uint64_t hash;
    uint64_t last_use;
    Pass pass;                        // as it came
    std::unique_ptr<gpu::Plan> plan;  // none: it has come once, or cannot be recorded
    bool cannot_be_recorded = false;
  };
  void forget_one(Driver& driver);
  void enqueue_fused(Driver& driver, const Pass& pass);
  void record(Driver& driver, Known& known);
  std::vector<Known> plans_;
  uint64_t n_uses_ = 0;
  Fusion fusion_;
};

}  // namespace t5g::gpu
