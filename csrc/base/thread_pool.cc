// Workers spin for a moment after a loop, then sleep: the loops of one decode step follow each other within
// microseconds.
#include "base/thread_pool.h"

#include <chrono>

#include "base/error.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace t5g {
namespace {

// How long a worker watches for the next loop before it sleeps. Longer than the gaps inside a forward pass,
// short enough that an idle model costs nothing that a person would notice.
constexpr std::chrono::microseconds kSpinTime{200};

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

struct ThreadPool::Loop {
  const FunctionRef<void(int64_t, int)> body;
  const int64_t n_items;
  std::atomic<int64_t> next{0};
};

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads < 1 ? 1 : n_threads) {}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_.store(true);
    wake_.notify_all();
  }
  for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::run_items(Loop& loop, int thread, Interrupt* interrupt) {
  for (int64_t item = loop.next.fetch_add(1); item < loop.n_items; item = loop.next.fetch_add(1)) {
    loop.body(item, thread);
    if (interrupt != nullptr && interrupt->poll()) {
      loop.next.store(loop.n_items);  // nobody begins another item
      throw Cancelled();
    }
  }
}

void ThreadPool::parallel_for(int64_t n_items, FunctionRef<void(int64_t, int)> body, Interrupt* interrupt) {
  Loop loop{body, n_items};
  if (n_threads_ == 1 || n_items <= 1) {
    run_items(loop, 0, interrupt);
    return;
  }
  while (static_cast<int>(workers_.size()) < n_threads_ - 1) {
    const int thread = static_cast<int>(workers_.size()) + 1;
    workers_.emplace_back([this, thread] { worker(thread); });
  }
  busy_.store(n_threads_ - 1);
  loop_.store(&loop);
  generation_.fetch_add(1);
  {
    std::lock_guard lock(mutex_);
    if (sleeping_ > 0) wake_.notify_all();
  }
  bool cancelled = false;
  try {
    run_items(loop, 0, interrupt);
  } catch (const Cancelled&) {
    cancelled = true;
  }
  // `loop` lives on this stack: every worker must have left it.
  while (busy_.load() > 0) relax();
  if (cancelled) throw Cancelled();
}

void ThreadPool::worker(int thread) {
  uint64_t seen = 0;
  while (true) {
    const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
    while (generation_.load() == seen && !stopping_.load() && std::chrono::steady_clock::now() < deadline) relax();
    if (generation_.load() == seen) {
      std::unique_lock lock(mutex_);
      ++sleeping_;
      wake_.wait(lock, [&] { return generation_.load() != seen || stopping_.load(); });
      --sleeping_;
    }
    if (stopping_.load()) return;
    // Loops come one at a time and each waits for every worker, so none is missed.
    ++seen;
    run_items(*loop_.load(), thread, nullptr);
    busy_.fetch_sub(1);
  }
}

}  // namespace t5g
