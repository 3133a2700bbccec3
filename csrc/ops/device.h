// A device: memory, and the way there and back. Tensors live on it and ops run on it, one forward pass at a time.
//
// Ops are *enqueued*: they may run later, in order. Only download() and wait() wait for them. On the CPU an op has run
// when it returns, uploading is a copy, and waiting is nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/interrupt.h"
#include "tensor/tensor.h"

namespace t5g {

class Device {
 public:
  virtual ~Device() = default;

  // As in t5g.Model(device=...): "cpu", "cuda:0", ...
  virtual std::string name() const = 0;
  // Threads of the host that ops use, the calling one included.
  virtual int n_threads() const = 0;

  // Memory for so many bytes, zero-filled. Throws Error naming the size when it cannot be had. Neither this nor
  // borrow() nor the end of a storage needs the lease: they are thread-safe.
  virtual std::unique_ptr<Storage> allocate(size_t size_bytes) = 0;
  // The same, for what nobody reads after the pass that has written it: where ops of a pass can do without such a
  // result, it need not be written.
  virtual std::unique_ptr<Storage> allocate_passing(size_t size_bytes) { return allocate(size_bytes); }
  // Says that weights of so many bytes, about, will be loaded. Throws DeviceError where there is no room for them.
  virtual void expect_weights(size_t) {}
  // Memory of the host as the device's own, so that long results need no copy; it must outlive the storage. Null where
  // the device cannot compute in it. The host may look at it after wait().
  virtual std::unique_ptr<Storage> borrow(std::span<std::byte> host) = 0;
  // Copies between the host and a tensor of as many values. An upload may be enqueued, but has read `from` when it
  // returns; a download waits for everything enqueued before.
  virtual void upload(std::span<const float> from, Tensor to) = 0;
  virtual void download(Tensor from, std::span<float> to) = 0;
  // Returns when everything that was enqueued has run. Throws Cancelled when the pass's interrupt says so.
  virtual void wait() = 0;

  // Exclusive use of the device, for the length of a forward pass.
  class Lease;

 protected:
  // Waits for other passes, which come in the order in which they asked -> what end_pass() is to be given. interrupt:
  // asked while this waits, and during long work until end_pass(); or null. Throws Cancelled when it says so.
  virtual void* begin_pass(Interrupt* interrupt) = 0;
  // Drops or waits for what is still enqueued.
  virtual void end_pass(void* pass) noexcept = 0;
  // Whether other passes wait for this one to end, which has had a turn that was worth the change.
  virtual bool is_wanted(void* pass) = 0;
};

class Device::Lease {
 public:
  explicit Lease(Device& device, Interrupt* interrupt = nullptr)
      : device_(device), interrupt_(interrupt), pass_(device.begin_pass(interrupt)) {}
  ~Lease() {
    if (is_held_) device_.end_pass(pass_);
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  // Whether other passes wait for this one.
  bool is_wanted() { return device_.is_wanted(pass_); }
  // For long passes, at a moment when all that they need lies in memory of their own: lets those that wait go first.
  // True when any did, and what was uploaded for the pass is to be uploaded again. Throws as wait() and begin_pass().
  bool give_way() {
    if (!is_wanted()) return false;
    device_.wait();
    device_.end_pass(pass_);
    is_held_ = false;
    pass_ = device_.begin_pass(interrupt_);
    return is_held_ = true;
  }

 private:
  Device& device_;
  Interrupt* const interrupt_;
  void* pass_;
  bool is_held_ = true;
};

// Floats on a device, owned.
class Floats {
 public:
  // kForPass: see Device::allocate_passing().
  enum class Kept : uint8_t { kAlways, kForPass };

  Floats() = default;
  Floats(Device& device, int64_t rows, int64_t cols, Kept kept = Kept::kAlways) : rows_(rows), cols_(cols) {
    const size_t size_bytes = static_cast<size_t>(rows * cols) * sizeof(float);
    storage_ = kept == Kept::kAlways ? device.allocate(size_bytes) : device.allocate_passing(size_bytes);
  }

  Tensor view() const { return {storage_.get(), 0, rows_, cols_}; }
  // The first rows.
  Tensor view(int64_t rows) const { return view().slice(0, rows); }

 private:
  std::unique_ptr<Storage> storage_;
  int64_t rows_ = 0, cols_ = 0;
};

}  // namespace t5g
