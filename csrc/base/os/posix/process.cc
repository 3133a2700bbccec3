// fork() leaves a child with one thread, and locks in any state: it counts, so that others can tell.
#include "base/os/process.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

namespace t5g::os {
namespace {

std::atomic<uint32_t> n_forks{0};

}  // namespace

int64_t process_id() { return ::getpid(); }

uint32_t fork_count() {
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] { n_forks.fetch_add(1); });
  static_cast<void>(registered);
  return n_forks.load(std::memory_order_relaxed);
}

}  // namespace t5g::os
