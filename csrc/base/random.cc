// Some C++ libraries read /dev/urandom and throw where there is none, as in a root with nothing but a program.
#include "base/random.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <random>

#include "base/os/process.h"

namespace t5g {
namespace {

// The finaliser of splitmix64: every bit of the input reaches every bit of the output.
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t number_of_this_call() {
  static std::atomic<uint64_t> n_calls{0};
  const auto now = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  return mixed(mixed(now) + mixed(static_cast<uint64_t>(os::process_id())) + n_calls.fetch_add(1));
}

}  // namespace

uint64_t random_number() noexcept {
  try {
    std::random_device device;
    return uint64_t{device()} << 32 | device();
  } catch (const std::exception&) {
    return number_of_this_call();
  }
}

}  // namespace t5g
