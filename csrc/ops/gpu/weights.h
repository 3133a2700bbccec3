// Weights on the device: noted when they are loaded, and all that were noted copied there together before the first op,
// so that one question tells whether there is memory for them.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/gpu/pack.h"
#include "ops/gpu/queue.h"
#include "ops/ops.h"

namespace t5g::gpu {

class StoredWeight;

// By the thread that holds the device, but for note() and forget(): from any thread.
class WeightStore {
 public:
  explicit WeightStore(Queue& queue) : queue_(queue) {}

  // Throws DeviceError where the device lacks the memory.
  void check_room(size_t size_bytes) const;
  // Copies all that was noted. Throws DeviceError where the device lacks the memory, before anything is copied.
  void settle() {
    if (any_noted_.load()) copy_noted();
  }
  void note(StoredWeight& weight);
  void forget(StoredWeight& weight);

 private:
  void copy_noted();
  void copy(const StoredWeight& weight, Address to);

  Queue& queue_;
  std::mutex mutex_;
  std::vector<StoredWeight*> noted_;
  std::atomic<bool> any_noted_{false};
};

// Where one weight lies.
class StoredWeight {
 public:
  StoredWeight(std::shared_ptr<WeightStore> store, const WeightView& view);
  ~StoredWeight() { store_->forget(*this); }
  StoredWeight(const StoredWeight&) = delete;
  StoredWeight& operator=(const StoredWeight&) = delete;

  DataType type() const { return layout_.type; }
  // For kernels.
  Weight weight() const {
    if (memory_ == nullptr) store_->settle();
    return layout_.at(address_, layout_.cols);
  }
  // Of rows [first, first + n) alone.
  Weight rows(int64_t first, int64_t n) const {
    Weight some = weight();
    const auto row = static_cast<size_t>(first);
    some.values += row * layout_.values_row_bytes;
    some.scales += row * layout_.scales_row_bytes / sizeof *some.scales;
    some.high += row * layout_.high_row_bytes / sizeof *some.high;
    some.n = static_cast<u32>(n);
    return some;
  }

 private:
  friend class WeightStore;
  bool is_same_as(const StoredWeight& other) const;

  const std::shared_ptr<WeightStore> store_;
  WeightView view_;
  const WeightLayout layout_;
  std::shared_ptr<Memory::Block> memory_;  // of several weights that were copied together
  Address address_ = 0;
};

// The three kinds of weights, which lie alike.
class GpuMatrix final : public Matrix {
 public:
  GpuMatrix(std::shared_ptr<WeightStore> store, const WeightView& view) : Matrix(view), stored(std::move(store), view) {
    drop_copy();
  }
  const StoredWeight stored;
};
class GpuTable final : public Table {
 public:
  GpuTable(std::shared_ptr<WeightStore> store, const WeightView& view) : Table(view), stored(std::move(store), view) {
    drop_copy();
  }
  const StoredWeight stored;
};
class GpuHead final : public Head {
 public:
  GpuHead(std::shared_ptr<WeightStore> store, const WeightView& view) : Head(view), stored(std::move(store), view) {
    drop_copy();
  }
  const StoredWeight stored;
};

// Every weight that these ops are given was loaded by them.
inline const StoredWeight& on_gpu(const Matrix& matrix) { return static_cast<const GpuMatrix&>(matrix).stored; }
inline const StoredWeight& on_gpu(const Table& table) { return static_cast<const GpuTable&>(table).stored; }
inline const StoredWeight& on_gpu(const Head& head) { return static_cast<const GpuHead&>(head).stored; }

}  // namespace t5g::gpu
