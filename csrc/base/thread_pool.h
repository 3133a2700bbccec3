// A small pool of workers for loops whose items are independent: results never depend on how many threads run them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/function_ref.h"

namespace t5g {

// Asked by the calling thread between items, so that a long loop can be stopped from outside.
class Interrupt {
 public:
  virtual ~Interrupt() = default;
  // True when the work should stop. Called often: must be cheap.
  virtual bool poll() = 0;
};

class ThreadPool {
 public:
  // n_threads counts the calling thread; n_threads - 1 workers are started on the first parallel loop.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return n_threads_; }

  // Calls body(item, thread) for every item in [0, n_items), thread in [0, n_threads); returns when all are done.
  // Items are handed out one at a time. One loop runs at a time: the caller holds the pool (see Lease).
  // Throws Cancelled when interrupt->poll() says so; the items already begun are finished first.
  // body must not throw.
  void parallel_for(int64_t n_items, FunctionRef<void(int64_t item, int thread)> body,
                    Interrupt* interrupt = nullptr);

  // Exclusive use of the pool by one caller for a whole forward pass; others wait their turn.
  std::unique_lock<std::mutex> lease() { return std::unique_lock<std::mutex>(lease_); }

 private:
  struct Loop;
  void worker(int thread);
  void run_items(Loop& loop, int thread, Interrupt* interrupt);

  const int n_threads_;
  std::vector<std::thread> workers_;
  std::mutex lease_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};  // counts loops; a change wakes the workers
  std::atomic<Loop*> loop_{nullptr};
  std::atomic<int> busy_{0};  // workers inside the current loop
  std::atomic<bool> stopping_{false};
  int sleeping_ = 0;
};

}  // namespace t5g
