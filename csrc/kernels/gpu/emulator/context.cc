// Stacks of fibers.
#include "kernels/gpu/emulator/context.h"

#ifndef T5G_UCONTEXT
// Saves what a called function has to keep, and goes on on another stack.
asm(R"(
.text
.globl t5g_switch_stack
.hidden t5g_switch_stack
.type t5g_switch_stack, @function
t5g_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size t5g_switch_stack, .-t5g_switch_stack
)");
#endif

namespace t5g::emulator {
namespace {

// A fiber ends without returning, so that what its frames marked stays marked: for its next run, and for whoever gets
// this memory from the system after it.
void unmark([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#ifdef T5G_ASAN
  __asan_unpoison_memory_region(memory, bytes);
#endif
}

// What main(), and what it calls to leave, have of a stack.
constexpr size_t kFirstFrames = 4096;

}  // namespace

Context::~Context() {
#ifdef T5G_TSAN
  if (owns_) __tsan_destroy_fiber(fiber_);
#endif
  if (!owns_) return;
  clean();
  ::munmap(static_cast<char*>(stack_) - kGuardBytes, kStackBytes + kGuardBytes);
}

void Context::clean() {
  if (owns_) unmark(stack_, stack_bytes_);
}

void Context::adopt() {
#ifdef T5G_TSAN
  fiber_ = __tsan_get_current_fiber();
#endif
}

void Context::prepare(void (*main)()) {
  if (!owns_) {
    void* memory =
        ::mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::mprotect(memory, kGuardBytes, PROT_NONE);
    stack_ = static_cast<char*>(memory) + kGuardBytes;
    stack_bytes_ = kStackBytes;
    owns_ = true;
#ifdef T5G_TSAN
    fiber_ = __tsan_create_fiber(0);
#endif
  }
  const size_t used_bytes = kStackBytes - stagger_bytes_;
  unmark(static_cast<char*>(stack_) + used_bytes - kFirstFrames, kFirstFrames);
#ifdef T5G_UCONTEXT
  ::getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = used_bytes;
  context_.uc_link = nullptr;
  ::makecontext(&context_, main, 0);
#else
  auto* top = reinterpret_cast<void**>(static_cast<char*>(stack_) + used_bytes);
  *--top = nullptr;  // keeps the stack aligned as after a call
  *--top = reinterpret_cast<void*>(main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  sp_ = top;
#endif
}

void Context::switch_to(Context& to, [[maybe_unused]] bool leaving) {
#ifdef T5G_ASAN
  __sanitizer_start_switch_fiber(leaving ? nullptr : &fake_stack_, to.stack_, to.stack_bytes_);
#endif
#ifdef T5G_TSAN
  __tsan_switch_to_fiber(to.fiber_, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef T5G_UCONTEXT
  ::swapcontext(&context_, &to.context_);
#else
  t5g_switch_stack(&sp_, to.sp_);
#endif
#ifdef T5G_ASAN
  const void* bottom;
  size_t bytes;
  __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &bytes);
#endif
}

void Context::arrive([[maybe_unused]] Context& from) {
#ifdef T5G_ASAN
  const void* bottom;
  size_t bytes;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  // Which comes from the system thread's stack, where that is not known yet.
  if (from.stack_ != nullptr) return;
  from.stack_ = const_cast<void*>(bottom);
  from.stack_bytes_ = bytes;
#endif
}

#ifdef T5G_TSAN
void Context::release(void* on) { __tsan_release(on); }
void Context::acquire(void* on) { __tsan_acquire(on); }
#else
void Context::release(void*) {}
void Context::acquire(void*) {}
#endif

}  // namespace t5g::emulator
