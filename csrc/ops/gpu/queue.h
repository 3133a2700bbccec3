// What a pass enqueues before it goes to the driver: launches, the small data that they read, and the small answers
// that the host reads afterwards. A pass of the decoder is sent off as a whole, so that the same one can be replayed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/interrupt.h"
#include "ops/gpu/launch.h"
#include "ops/gpu/memory.h"
#include "ops/gpu/plans.h"

namespace t5g::gpu {

// By the thread that holds the device.
class Queue {
 public:
  explicit Queue(std::shared_ptr<Memory> memory);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  Memory& memory() const { return *memory_; }
  Driver& driver() const { return memory_->driver(); }

  void begin(Interrupt* interrupt);
  // Drops what was not sent off, and waits for or drops the rest.
  void end() noexcept;

  template <typename Args>
  void launch(KernelId kernel, Grid grid, const Args& args) {
    pass_.launches.emplace_back(kernel, grid, args);
    if (!keeps_whole_ && pass_.launches.size() >= kMaxLaunches) flush();
  }
  // Whether everything until the next wait() is one pass of the decoder. Otherwise it is sent off bit by bit, and only
  // a little ahead of the device, so that an interruption need not wait long.
  void keep_whole(bool whole) { keeps_whole_ = whole; }

  // What put() has returned stays as long as this number, and the batch, do.
  uint64_t epoch() const { return epoch_; }
  // Copies small data for launches that come next -> where they find it, aligned to 16 bytes. reserve_bytes: the room
  // to take, so that lists which grow from pass to pass lie alike; or what there is, where that is more.
  Address put(std::span<const std::byte> data, size_t reserve_bytes = 0);
  template <typename T>
  Address put_values(std::span<const T> data, size_t reserve = 0) {
    return put(std::as_bytes(data), reserve * sizeof(T));
  }
  // Sees to it that put() of so many bytes in all moves nothing that it has returned.
  void make_room(size_t size_bytes);
  // The batch, which is kept until the next one: fill(memory of the host, its address on the device).
  template <typename Fill>
  void put_batch(size_t size_bytes, Fill fill) {
    make_batch_room(size_bytes);
    ++epoch_;
    fill(batch_host_->data(), batch_->address());
    batch_bytes_ = size_bytes;
  }

  // Has device memory copied to the host after all launches so far -> where it is after wait(), until the next launch.
  // For a few bytes: 4 MB at most in a pass.
  const std::byte* fetch(Address from, size_t size_bytes);
  // The same at once, of any size.
  void read(Address from, std::span<std::byte> to);
  // The other way, at once.
  void write(std::span<const std::byte> from, Address to);

  // Sends off everything.
  void flush();
  // Returns when everything has run. Throws Cancelled.
  void wait();

 private:
  static constexpr size_t kMaxLaunches = 256;
  static constexpr size_t kDataBytes = size_t{1} << 20;
  static constexpr size_t kAnswerBytes = size_t{4} << 20;

  void begin_anew();
  void make_batch_room(size_t size_bytes);
  // is_end: of the pass.
  void send(bool is_end);
  void drain(bool is_end);
  void wait_for(uint64_t mark);

  const std::shared_ptr<Memory> memory_;
  Interrupt* interrupt_ = nullptr;
  bool keeps_whole_ = false;
  Pass pass_;  // not sent off
  std::unique_ptr<HostMemory> batch_host_, data_host_, answers_host_;
  std::unique_ptr<Memory::Block> batch_, data_;
  size_t batch_bytes_ = 0;                // to be uploaded; 0: nothing
  size_t data_begin_ = 0, data_end_ = 0;  // to be uploaded
  size_t answers_end_ = 0;
  uint64_t epoch_ = 1;
  uint64_t last_mark_ = 0, previous_mark_ = 0;  // 0: has passed
  Plans plans_;
};

}  // namespace t5g::gpu
