// A ticket lock: given in the order in which it was asked for, and that one need not wait for to the end. A mutex gives
// no order: a thread that takes it again at once can keep all others out.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/interrupt.h"

namespace t5g {

class TicketLock {
 public:
  // Returns when it is this caller's turn. Throws Cancelled when interrupt->poll() says so first, or what it throws.
  void enter(Interrupt* interrupt);
  // The next one's turn.
  void leave();

 private:
  void give_up(uint64_t ticket);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> tickets_;  // of the holder, then of those who wait; a vector keeps its memory
  uint64_t next_ticket_ = 0;
};

}  // namespace t5g
