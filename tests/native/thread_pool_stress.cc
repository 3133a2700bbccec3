// Hammers the thread pool, for a thread sanitizer to watch: every item exactly once, whatever ends a loop early.
// Usage: thread_pool_stress [rounds], or --measure, which prints what a loop costs.
#ifndef T5G_NO_FORK
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "checks.h"

namespace {

using t5g::ThreadPool;

struct StopAfter : t5g::Interrupt {
  explicit StopAfter(int n) : left(n) {}
  bool poll() override { return left-- <= 0; }
  int left;
};
struct ThrowingPoll : t5g::Interrupt {
  bool poll() override { throw std::runtime_error("from poll"); }
};

void every_item_runs_once(ThreadPool& pool, int64_t n) {
  std::vector<int> counts(static_cast<size_t>(n), 0);  // plain ints: a race on them is an item run twice
  std::atomic<bool> thread_in_range{true};
  pool.parallel_for(n, [&](int64_t item, int thread) {
    ++counts[static_cast<size_t>(item)];
    if (thread < 0 || thread >= pool.n_threads()) thread_in_range = false;
  });
  T5G_CHECK(thread_in_range);
  for (const int count : counts) T5G_CHECK(count == 1);
}

// The items of a thread that does not get on are done by the others.
void others_take_over(ThreadPool& pool) {
  constexpr int kItems = 100;
  std::atomic<int> n_done{0};
  pool.parallel_for(kItems, [&](int64_t item, int) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (item == 0 && n_done < kItems - 1 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    ++n_done;
    T5G_CHECK(item != 0 || n_done == kItems);
  });
}

// What one loop writes, the next one reads without further ado.
void loops_follow_each_other(ThreadPool& pool, int n_loops) {
  std::vector<int64_t> values(8, 0);
  for (int i = 0; i < n_loops; ++i) {
    pool.parallel_for(8, [&](int64_t item, int) { ++values[static_cast<size_t>(7 - item)]; });
  }
  for (const int64_t value : values) T5G_CHECK(value == n_loops);
}

void cancelling_stops_and_leaves_the_pool_usable(ThreadPool& pool) {
  StopAfter stop(3);
  std::atomic<int64_t> n_run{0};
  bool cancelled = false;
  try {
    pool.parallel_for(int64_t{1} << 62, [&](int64_t, int) { ++n_run; }, &stop);
  } catch (const t5g::Cancelled&) {
    cancelled = true;
  }
  const int64_t n_after = n_run;
  T5G_CHECK(cancelled && n_after >= 4);
  every_item_runs_once(pool, 100);
  T5G_CHECK(n_run == n_after);
}

void exceptions_come_out(ThreadPool& pool) {
  ThrowingPoll throwing;
  for (const bool from_poll : {true, false}) {
    bool caught = false;
    try {
      // Without end when poll must throw: the workers could do all of a short loop before the caller polls.
      pool.parallel_for(
          from_poll ? int64_t{1} << 62 : 1000,
          [&](int64_t item, int) {
            if (!from_poll && item % 3 == 2) throw std::runtime_error("from body");
          },
          from_poll ? &throwing : nullptr);
    } catch (const std::runtime_error& e) {
      caught = e.what() == std::string(from_poll ? "from poll" : "from body");
    }
    T5G_CHECK(caught);
  }
  every_item_runs_once(pool, 10);
}

struct Lease {
  explicit Lease(ThreadPool& of, t5g::Interrupt* interrupt = nullptr) : pool(of), entered(of.enter(interrupt)) {}
  ~Lease() { pool.leave(entered); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ThreadPool& pool;
  void* const entered;
};

void leases_exclude_each_other(ThreadPool& pool) {
  int64_t shared = 0;  // guarded by the lease alone
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int j = 0; j < 50; ++j) {
        StopAfter patient(1 << 30);
        const Lease lease(pool, j % 2 == 0 ? &patient : nullptr);
        ++shared;
        loops_follow_each_other(pool, 3);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  T5G_CHECK(shared == 200);
}

void waiting_for_a_lease_can_be_cancelled(ThreadPool& pool) {
  auto held = std::make_unique<Lease>(pool);
  std::thread waiter([&] {
    StopAfter stop(2);
    bool cancelled = false;
    try {
      const Lease lease(pool, &stop);
    } catch (const t5g::Cancelled&) {
      cancelled = true;
    }
    T5G_CHECK(cancelled);
  });
  waiter.join();
  std::thread next([&] { const Lease lease(pool); });
  held.reset();
  next.join();
}

void pools_end_at_any_time(int n_threads) {
  {
    ThreadPool unused(n_threads);
  }
  {
    ThreadPool pool(n_threads);
    every_item_runs_once(pool, 5);
  }  // workers still spin
  {
    ThreadPool pool(n_threads);
    every_item_runs_once(pool, 5);
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // workers sleep
  }
}

void a_forked_child_has_a_pool(ThreadPool& pool) {
#ifndef T5G_NO_FORK  // Windows has none, and a thread sanitizer does not follow threads into a child
  every_item_runs_once(pool, 50);
  const pid_t child = ::fork();
  T5G_CHECK(child >= 0);
  if (child == 0) {
    every_item_runs_once(pool, 50);
    {
      const Lease lease(pool);
    }
    {
      ThreadPool another(3);
      every_item_runs_once(another, 50);
    }
    pool.~ThreadPool();
    ::_exit(0);
  }
  int status = 0;
  for (int waited_ms = 0; ::waitpid(child, &status, WNOHANG) == 0; ++waited_ms) {
    T5G_CHECK(waited_ms < 10'000);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  T5G_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
  every_item_runs_once(pool, 50);
}

void measure(int n_threads) {
  using Clock = std::chrono::steady_clock;
  ThreadPool pool(n_threads);
  constexpr int kLoops = 20'000;
  loops_follow_each_other(pool, 100);
  for (const int64_t n_items : {2, 16}) {
    std::atomic<int64_t> sink{0};
    const auto begin = Clock::now();
    for (int i = 0; i < kLoops; ++i) pool.parallel_for(n_items, [&](int64_t item, int) { sink += item; });
    const double us = std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / kLoops;
    std::printf("%d threads, %d items: %.2f us a loop\n", n_threads, static_cast<int>(n_items), us);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--measure") {
    for (const int n_threads : {1, 2, 3, 4, 16}) measure(n_threads);
    return 0;
  }
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 20;
  for (int round = 0; round < rounds; ++round) {
    for (const int n_threads : {-1, 1, 2, 3, 17}) {
      ThreadPool pool(n_threads);
      for (const int64_t n : {0, 1, 2, 3, 1000}) every_item_runs_once(pool, n);
      if (n_threads > 1) others_take_over(pool);
      loops_follow_each_other(pool, 200);
      cancelling_stops_and_leaves_the_pool_usable(pool);
      exceptions_come_out(pool);
      if (round % 2 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      leases_exclude_each_other(pool);
      waiting_for_a_lease_can_be_cancelled(pool);
      a_forked_child_has_a_pool(pool);
      pools_end_at_any_time(n_threads);
    }
  }
  std::puts("ok");
}
