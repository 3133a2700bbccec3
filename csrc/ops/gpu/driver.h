// A GPU as thin as it can be: memory, copies, launches, and lists of them that run again. All that is above it, GpuOps,
// is written once for CUDA, Metal and the emulation.
//
// There is one queue. What is enqueued runs in the order in which it came, each when all before it has run. Only
// allocate(), free(), free_bytes() and what only reads a constant may be called by several threads at once: all else by
// the thread that holds the device. A call that finds the device failed throws DeviceError, and so do all after it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/interrupt.h"

namespace t5g::gpu {

// Of device memory, as kernels see it; 0: none.
using Address = uint64_t;

// A row of kernels/gpu/kernels.inc.
using KernelIndex = uint32_t;

// Groups of a launch; none of them 0. y and z are at most 65,535.
struct Grid {
  uint32_t x = 1, y = 1, z = 1;
};

// The arguments of a kernel are at most so large, and copied by launch().
inline constexpr size_t kMaxArgsBytes = 512;

// Memory of the host that the device reads and writes by itself.
class HostMemory {
 public:
  virtual ~HostMemory() = default;
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;
  std::byte* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 protected:
  HostMemory(std::byte* data, size_t size_bytes) : data_(data), size_bytes_(size_bytes) {}

 private:
  std::byte* const data_;
  const size_t size_bytes_;
};

// What was enqueued while a recording was made, to be run again as it is: the same addresses and arguments.
class Plan {
 public:
  virtual ~Plan() = default;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

 protected:
  Plan() = default;
};

class Driver {
 public:
  virtual ~Driver() = default;

  // As in t5g.Model(device=...): "cuda:0", "metal", "emulated".
  virtual std::string name() const = 0;
  // What it is, for people: "NVIDIA H100 80GB HBM3, 79.1 GiB".
  virtual std::string description() const = 0;
  // Multiprocessors, or what comes near: how many groups keep it busy is a small multiple of it.
  virtual int n_processors() const = 0;
  // Threads of the host that kernels run on; 1 on a device that is one.
  virtual int n_threads() const { return 1; }

  // Before each pass, by any thread: throws where this process cannot use the device (any more), as after a fork.
  virtual void check_usable() const {}

  // ---- Memory -------------------------------------------------------------------------------------------------------

  // Device memory that is free now, as far as the system knows.
  virtual size_t free_bytes() = 0;
  // That allocate() gives at most.
  virtual size_t largest_allocation() const { return SIZE_MAX; }
  // size_bytes > 0. Aligned to 16 bytes, contents undefined. Throws DeviceError, which says how much was needed and
  // how much is free, when it cannot be had.
  virtual Address allocate(size_t size_bytes) = 0;
  // All of one allocate(). Waits for what uses it, or keeps it until then.
  virtual void free(Address memory) noexcept = 0;
  // Throws DeviceError.
  virtual std::unique_ptr<HostMemory> allocate_host(size_t size_bytes) = 0;

  // ---- Enqueued -----------------------------------------------------------------------------------------------------

  virtual void launch(KernelIndex kernel, Grid grid, std::span<const std::byte> args) = 0;
  // Between host memory and the device: read from, or written to, when their turn comes. Ends of the host's memory are
  // bytes from its beginning; addresses and sizes are multiples of 4.
  virtual void upload(const HostMemory& from, size_t offset, Address to, size_t size_bytes) = 0;
  virtual void download(Address from, HostMemory& to, size_t offset, size_t size_bytes) = 0;
  virtual void copy(Address from, Address to, size_t size_bytes) = 0;
  virtual void fill_zero(Address memory, size_t size_bytes) = 0;
  // From any memory of the host, which has been read when this returns. Not while a recording is made.
  virtual void write(std::span<const std::byte> from, Address to) = 0;

  // ---- Recordings ---------------------------------------------------------------------------------------------------

  // Between these two, what is enqueued does not run but joins the plan. Waiting, allocating and freeing are not
  // allowed in between. end_recording(false) drops it and returns null.
  virtual void begin_recording() = 0;
  virtual std::unique_ptr<Plan> end_recording(bool keep) = 0;
  // Enqueues all of it. The plan must live until it has run, and all memory that it names as long as it is replayed.
  virtual void replay(const Plan& plan) = 0;

  // ---- Waiting ------------------------------------------------------------------------------------------------------

  // Marks this place of the queue -> its number, larger than all before. Work may not begin before somebody marks, so
  // this also sends off what is enqueued.
  virtual uint64_t mark() = 0;
  // Whether everything before the mark has run. Cheap: the caller asks in a loop, and its interrupt in between.
  virtual bool has_passed(uint64_t mark) = 0;
  // For a driver that runs kernels on the calling thread: what it asks now and then in mark() and has_passed(),
  // throwing Cancelled and dropping what is enqueued; null: nobody. On others, what runs cannot be stopped.
  virtual void use_interrupt(Interrupt*) {}
  // Leaves the queue empty: by waiting, or where nobody needs the rest, by dropping it. A device that has failed is
  // empty.
  virtual void settle() noexcept = 0;
};

// Rows of a forward pass that go through a layer together. Large blocks keep a large device busy: with 512 rows a layer
// of the 270M has 64 to 80 groups of most kinds.
inline int64_t block_rows(const Driver& driver) {
  const int n = driver.n_processors();
  return n >= 64 ? 2048 : n >= 8 ? 512 : 64;
}

}  // namespace t5g::gpu
