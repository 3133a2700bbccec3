// A stack, and going on on another one: what differs between systems and sanitizers. Stacks change places with a dozen
// instructions on x86-64 and with ucontext elsewhere.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define T5G_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define T5G_ASAN 1
#endif
#endif
#ifdef T5G_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
// T5G_TSAN comes from the build: this code itself is not instrumented, only the kernels' accesses count.
#ifdef T5G_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__x86_64__) && !defined(T5G_FORCE_UCONTEXT)
extern "C" void t5g_switch_stack(void** save, void* load);
#else
#include <ucontext.h>
#define T5G_UCONTEXT 1
#endif

namespace t5g::emulator {

inline constexpr size_t kStackBytes = 256 << 10;
inline constexpr size_t kGuardBytes = 4096;
// Stacks begin at different places of a page: else what all of them use most would have the same few places of the
// CPU's caches, and every change of stacks would wait for memory.
inline constexpr size_t kStagger = 192, kStaggeredBytes = 4096;

// A stack of its own, or with the first constructor the one of the system thread.
class Context {
 public:
  Context() = default;
  explicit Context(size_t number) : stagger_bytes_(number * kStagger % kStaggeredBytes) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context();

  // Makes a stack that begins with main() when somebody switches to it. The memory is kept from time to time.
  void prepare(void (*main)());
  // After somebody left this stack for good in the middle of what it did, and not in main() itself.
  void clean();
  // Remembers this stack, and goes on on that one. leaving: nobody will come back to this stack.
  void switch_to(Context& to, bool leaving = false);
  // The first thing on a stack that was switched to for the first time. from: the stack of the system thread.
  static void arrive(Context& from);

  // What happened before release() on one stack has happened after acquire() on another one.
  static void release(void* on);
  static void acquire(void* on);
  // This is the system thread's own stack.
  void adopt();

 private:
#ifdef T5G_UCONTEXT
  ucontext_t context_;
#else
  void* sp_ = nullptr;
#endif
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  void* fiber_ = nullptr;       // ThreadSanitizer's
  bool owns_ = false;
  void* stack_ = nullptr;
  size_t stack_bytes_ = 0, stagger_bytes_ = 0;
};

}  // namespace t5g::emulator
