// A ticket lock: given in the order in which it was asked for, and that one need not wait for to the end. A mutex gives
// no order: a thread that takes it again at once can keep all others out.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/interrupt.h"

namespace t5g {

class TicketLock {
 public:
  // what: is behind it, for errors: "the model".
  explicit TicketLock(std::string what) : what_(std::move(what)) {}

  // Returns when it is this caller's turn. Throws Cancelled when interrupt->poll() says so first, or what it throws;
  // InvalidArgument when this very thread holds it, which would wait for itself.
  void enter(Interrupt* interrupt);
  // The next one's turn.
  void leave();

  // Whether others wait for it.
  bool is_wanted();

  // Whether this thread holds it.
  bool is_mine() const { return holder_.load(std::memory_order_relaxed) == std::this_thread::get_id(); }

  // Holds it for as long as it lives.
  class Guard;

 private:
  void wait_for_turn(Interrupt* interrupt);
  void give_up(uint64_t ticket);

  const std::string what_;
  std::atomic<std::thread::id> holder_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> tickets_;  // of the holder, then of those who wait; a vector keeps its memory
  uint64_t next_ticket_ = 0;
};

class TicketLock::Guard {
 public:
  explicit Guard(TicketLock& lock, Interrupt* interrupt = nullptr) : lock_(lock) { lock.enter(interrupt); }
  ~Guard() { lock_.leave(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  TicketLock& lock_;
};

}  // namespace t5g
