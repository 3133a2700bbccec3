// Workers join a loop while it is open; the caller closes it when the items are gone and waits for those inside, never
// for a worker that sleeps or has no CPU. After a loop they spin for a moment, then sleep: the loops of one decode step
// follow each other within microseconds.
#include "base/thread_pool.h"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/fork_count.h"
#include "base/os/cpu.h"
#include "base/ticket_lock.h"

namespace t5g {
namespace {

using Clock = std::chrono::steady_clock;

// How long a worker watches for the next loop before it sleeps. Longer than the gaps inside a forward pass,
// short enough that an idle model costs nothing that a person would notice.
constexpr std::chrono::microseconds kSpinTime{200};
// Pauses (10 to 40 ns each) before a spinning thread begins to offer its CPU to others between pauses.
constexpr int kPausesBeforeYield = 500;

// One step of a busy wait: eager at first, then polite, because the thread that is waited for may need this very CPU.
class Spinner {
 public:
  explicit Spinner(bool eager) : pauses_(eager ? kPausesBeforeYield : 0) {}
  void step() {
    if (pauses_ > 0) {
      --pauses_;
      os::relax();
    } else {
      std::this_thread::yield();
    }
  }
  bool eager() const { return pauses_ > 0; }

 private:
  int pauses_;
};

// The state of a crew in one word, so that joining a loop and closing it exclude each other without a lock:
// the loop's number, whether it is open, and how many workers are inside.
constexpr uint64_t kOpen = uint64_t{1} << 31, kStopping = uint64_t{1} << 30, kInside = kStopping - 1;
uint32_t loop_number(uint64_t state) { return static_cast<uint32_t>(state >> 32); }

}  // namespace

// The items that a thread takes first. One to a cache line, as their owners count in them all the time.
struct alignas(64) ThreadPool::ItemRange {
  // Unsigned and far from its end: every thread may count once beyond it.
  std::atomic<uint64_t> next{0};
  uint64_t end = 0;
};

// Every thread has a range of neighbouring items and, when these are gone, helps with those of the others. So a thread
// finds in its own cache what the loop before has left there, where the items of both are rows; and two threads hardly
// ever write to one cache line, as they would with items that are next to each other.
struct ThreadPool::Loop {
  const FunctionRef<void(int64_t, int)> body;
  const std::span<ItemRange> ranges;  // one for each thread
  std::mutex mutex{};
  std::exception_ptr error{};  // the first one, guarded by mutex

  Loop(FunctionRef<void(int64_t, int)> items, uint64_t n_items, std::span<ItemRange> of_threads)
      : body(items), ranges(of_threads) {
    uint64_t end = 0;
    for (size_t i = 0; i < ranges.size(); ++i) {
      ranges[i].next.store(end);
      end += n_items / ranges.size() + (i < n_items % ranges.size() ? 1 : 0);
      ranges[i].end = end;
    }
  }

  void run(int thread, Interrupt* interrupt) noexcept {
    try {
      for (size_t i = 0; i < ranges.size(); ++i)
        run_range(ranges[(static_cast<size_t>(thread) + i) % ranges.size()], thread, interrupt);
    } catch (...) {
      for (ItemRange& range : ranges) range.next.store(range.end);  // nobody begins another item
      std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }

  void run_range(ItemRange& range, int thread, Interrupt* interrupt) {
    while (range.next.load() < range.end) {
      const uint64_t item = range.next.fetch_add(1);
      if (item >= range.end) return;
      body(static_cast<int64_t>(item), thread);
      if (interrupt != nullptr && interrupt->poll()) throw Cancelled();
    }
  }
};

// Everything that a fork leaves unusable in the child.
struct ThreadPool::Crew {
  const uint32_t forks = fork_count();
  const bool eager;               // every thread can have a CPU of its own
  std::vector<ItemRange> ranges;  // of the loop that runs: one for each thread

  alignas(64) std::atomic<uint64_t> state{0};
  std::atomic<Loop*> loop{nullptr};
  alignas(64) std::atomic<int> n_sleeping{0};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
  bool complete = false;  // no more workers will be started

  TicketLock ticket_lock{"the model"};  // for the lease

  explicit Crew(int n_threads)
      : eager(static_cast<unsigned>(n_threads) <= std::thread::hardware_concurrency()),
        ranges(static_cast<size_t>(n_threads)) {}

  ~Crew() {
    state.fetch_or(kStopping);
    wake_sleepers();
    for (std::thread& worker : workers) worker.join();
  }

  void start_workers(int n) {
    try {
      while (static_cast<int>(workers.size()) < n) {
        const int thread = static_cast<int>(workers.size()) + 1;
        workers.emplace_back([this, thread] { work(thread); });
      }
    } catch (const std::system_error&) {
      // No more threads for this process: fewer do the same work.
    }
    complete = true;
  }

  void wake_sleepers() {
    // A worker first says that it sleeps and then looks at the state; here it is the other way round, so that one of
    // the two sees the other. The lock: it may be between its look and its sleep.
    if (n_sleeping.load() == 0) return;
    {
      std::lock_guard lock(mutex);
    }
    wake.notify_all();
  }

  void run(Loop& new_loop, Interrupt* interrupt) {
    loop.store(&new_loop);
    state.store((static_cast<uint64_t>(loop_number(state.load()) + 1) << 32) | kOpen);
    wake_sleepers();
    new_loop.run(0, interrupt);
    state.fetch_and(~kOpen);
    for (Spinner spinner(eager); (state.load() & kInside) != 0;) spinner.step();
  }

  void work(int thread) {
    uint32_t seen = 0;
    while (true) {
      const uint64_t now = await_loop(seen);
      if (now & kStopping) return;
      seen = loop_number(now);
      uint64_t expected = now;
      bool joined = false;
      while (!joined && (expected & kOpen) && loop_number(expected) == seen) {
        joined = state.compare_exchange_weak(expected, expected + 1);
      }
      if (!joined) continue;
      loop.load()->run(thread, nullptr);
      state.fetch_sub(1);
    }
  }

  // The state when there is an open loop other than `seen`, or the end of the pool.
  uint64_t await_loop(uint32_t seen) {
    uint64_t now = 0;
    const auto ready = [&] {
      now = state.load();
      return (now & kStopping) || ((now & kOpen) && loop_number(now) != seen);
    };
    Spinner spinner(eager);
    while (spinner.eager()) {
      if (ready()) return now;
      spinner.step();
    }
    const auto deadline = Clock::now() + kSpinTime;
    do {
      if (ready()) return now;
      spinner.step();
    } while (Clock::now() < deadline);
    std::unique_lock lock(mutex);
    n_sleeping.fetch_add(1);
    wake.wait(lock, ready);
    n_sleeping.fetch_sub(1);
    return now;
  }
};

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads < 1 ? 1 : n_threads) { crew_.store(new Crew(n_threads_)); }

ThreadPool::~ThreadPool() {
  // A crew from before a fork has no threads to join and locks in any state: it is left alone.
  if (Crew* last = crew_.load(); last->forks == fork_count()) delete last;
}

ThreadPool::Crew& ThreadPool::crew() {
  Crew* current = crew_.load();
  if (current->forks == fork_count()) return *current;
  auto fresh = std::make_unique<Crew>(n_threads_);
  if (crew_.compare_exchange_strong(current, fresh.get())) return *fresh.release();
  return *current;  // another thread was first
}

void ThreadPool::parallel_for(int64_t n_items, FunctionRef<void(int64_t, int)> body, Interrupt* interrupt) {
  if (n_items <= 0) return;
  const bool alone = n_threads_ == 1 || n_items == 1;
  ItemRange all;
  Crew& workers = crew();
  Loop loop(body, static_cast<uint64_t>(n_items), alone ? std::span(&all, 1) : std::span(workers.ranges));
  if (alone) {
    loop.run(0, interrupt);
  } else {
    if (!workers.complete) workers.start_workers(n_threads_ - 1);
    workers.run(loop, interrupt);
  }
  if (loop.error) std::rethrow_exception(loop.error);
}

void* ThreadPool::enter(Interrupt* interrupt) {
  Crew& entered = crew();
  entered.ticket_lock.enter(interrupt);
  return &entered;
}

// A crew from before a fork, too: its lock was this thread's.
void ThreadPool::leave(void* entered) noexcept { static_cast<Crew*>(entered)->ticket_lock.leave(); }

bool ThreadPool::is_wanted(void* entered) { return static_cast<Crew*>(entered)->ticket_lock.is_wanted(); }

}  // namespace t5g
