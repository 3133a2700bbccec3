// A small pool of workers for loops whose items are independent: results never depend on how many threads run them.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/function_ref.h"
#include "base/interrupt.h"

namespace t5g {

// After a fork() the child's pool starts workers of its own when it is first used, and nobody waits for those of the
// parent, which the child does not have. Forking while a loop runs in another thread is fine; that loop goes on in the
// parent alone.
class ThreadPool {
 public:
  // n_threads counts the calling thread; n_threads - 1 workers are started on the first parallel loop. Where the system
  // grants fewer, the pool works with those.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return n_threads_; }

  // Calls body(item, thread) for every item in [0, n_items), thread in [0, n_threads); returns when all are done.
  // A thread begins with items of its own, in order and always about the same share, then takes over those of others.
  // A worker that has no time for the loop is not waited for.
  // One loop runs at a time: the caller holds the pool (see enter), and body runs no loop of its own.
  // Throws Cancelled when interrupt->poll() says so. That, or an exception of poll or body (the first one is rethrown),
  // ends the loop early: the items already begun are finished first.
  void parallel_for(int64_t n_items, FunctionRef<void(int64_t item, int thread)> body, Interrupt* interrupt = nullptr);

  // Exclusive use of the pool, for a whole forward pass -> what leave() is to be given. Others wait and get it in the
  // order in which they came, so that two threads that generate at the same time both get on. Throws Cancelled when
  // interrupt->poll() says so while waiting.
  void* enter(Interrupt* interrupt = nullptr);
  void leave(void* entered) noexcept;
  // Whether others wait to enter. entered: by the caller, who has not left.
  bool is_wanted(void* entered);

 private:
  struct Crew;
  struct ItemRange;
  struct Loop;
  Crew& crew();

  const int n_threads_;
  std::atomic<Crew*> crew_;
};

}  // namespace t5g
