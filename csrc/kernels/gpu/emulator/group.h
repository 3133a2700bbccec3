// Runs GPU kernels on the CPU: the threads of a group are fibers of one system thread, which change places at barriers
// and wherever the lanes of a warp work together. One group runs after the other.
//
// What it finds that a GPU would not say: threads that wait at different barriers or left others waiting (with the
// line), lanes that load a fragment without the others, memory of the group that nobody wrote (it starts as NaN), and,
// by running a launch in several orders of threads, missing barriers. With AddressSanitizer: reads and writes beyond a
// buffer; with ThreadSanitizer: every race.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "base/function_ref.h"

namespace t5g::emulator {

struct Thread {
  uint32_t lane, warp, index;
  uint32_t group_x, group_y, group_z;
};

struct Kernel {
  const char* name;
  uint32_t threads;
  size_t args_bytes;
  size_t shared_bytes;
  void (*run)(const void* args, void* shared, Thread thread);
};

struct Grid {
  uint32_t x = 1, y = 1, z = 1;
};
// The order in which groups come, and threads between barriers.
enum class Order { kForward, kBackward, kShuffled };

// Groups [first, end) of a grid, x fastest; all: those that there are.
struct Groups {
  uint64_t first = 0, end = ~uint64_t{0};
};

struct KernelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Stacks;
using Stop = FunctionRef<bool()>;
struct How {
  Groups groups = {};
  Order order = Order::kForward;
  uint32_t seed = 0;         // of Order::kShuffled
  Stacks* stacks = nullptr;  // null: those of the system thread, which keeps them as long as it lives
  // Asked before each group, may throw. True: the groups that are left do not run.
  const Stop* stop = nullptr;
};
// False: it was stopped. Several system threads may launch at a time. Throws KernelError where threads diverge.
bool launch(const Kernel& kernel, Grid grid, const void* args, const How& how = {});

// The stacks of a group's threads, made by the launch that first wants them and kept until this goes: megabytes. For
// one launch at a time.
class Stacks {
 public:
  Stacks();
  ~Stacks();

 private:
  friend bool launch(const Kernel& kernel, Grid grid, const void* args, const How& how);
  struct Fibers;
  std::unique_ptr<Fibers> fibers_;
};

// Whether launches from now on, of all threads, lay fragments out as on Metal. Off at first.
void use_metal_fragments(bool yes);
inline std::atomic<bool> metal_fragments{false};
inline bool has_metal_fragments() { return metal_fragments.load(std::memory_order_relaxed); }

// Of this system thread.
struct Statistics {
  uint64_t launches, groups, switches, collectives;
};
Statistics statistics();

// ---- For the prelude: called by threads of a kernel -----------------------------------------------------------------

void group_barrier(int line);
// Waits for all lanes; the last to come calls combine(what each lane gave), before any goes on.
void warp_collective(void* mine, void (*combine)(void* const* lanes), int line);
// What all lanes have to do together, though none waits for the others: that they did shows when they next meet.
void warp_load(int line);
void check_aligned(const void* address, size_t bytes, int line);

}  // namespace t5g::emulator
