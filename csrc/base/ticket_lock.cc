// A queue of tickets: whoever has the first one holds the lock.
#include "base/ticket_lock.h"

#include <chrono>

#include "base/error.h"

namespace t5g {
namespace {

// How often a caller that waits looks at its interrupt.
constexpr std::chrono::milliseconds kPollTime{10};

}  // namespace

void TicketLock::enter(Interrupt* interrupt) {
  if (is_mine()) {
    throw InvalidArgument(what_ +
                          " is in use by this very thread. What is called meanwhile (a signal handler, a callback) "
                          "cannot use it too.");
  }
  wait_for_turn(interrupt);
  holder_.store(std::this_thread::get_id(), std::memory_order_relaxed);
}

void TicketLock::wait_for_turn(Interrupt* interrupt) {
  std::unique_lock lock(mutex_);
  const uint64_t ticket = next_ticket_++;
  tickets_.push_back(ticket);
  const auto my_turn = [&] { return tickets_.front() == ticket; };
  if (interrupt == nullptr) {
    changed_.wait(lock, my_turn);
    return;
  }
  while (!changed_.wait_for(lock, kPollTime, my_turn)) {
    lock.unlock();  // poll may wait for the interpreter's lock, whose owner may be about to wait for this one
    try {
      if (interrupt->poll()) throw Cancelled();
    } catch (...) {
      give_up(ticket);
      throw;
    }
    lock.lock();
  }
}

void TicketLock::give_up(uint64_t ticket) {
  {
    std::lock_guard lock(mutex_);
    std::erase(tickets_, ticket);
  }
  changed_.notify_all();  // it may have been this one's turn just now
}

void TicketLock::leave() {
  holder_.store({}, std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);
    tickets_.erase(tickets_.begin());
  }
  changed_.notify_all();
}

bool TicketLock::is_wanted() {
  const std::lock_guard lock(mutex_);
  return tickets_.size() > 1;
}

}  // namespace t5g
