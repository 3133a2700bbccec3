// Every fork() tells its child to count one more.
#include "base/fork_count.h"

#include <pthread.h>

#include <atomic>

namespace t5g {
namespace {

std::atomic<uint32_t> n_forks{0};

}  // namespace

uint32_t fork_count() {
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] { n_forks.fetch_add(1); });
  static_cast<void>(registered);
  return n_forks.load(std::memory_order_relaxed);
}

}  // namespace t5g
