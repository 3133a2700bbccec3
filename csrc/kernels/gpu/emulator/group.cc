// Fibers of one group, and who runs next.
#include "kernels/gpu/emulator/group.h"

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/gpu/emulator/context.h"

namespace t5g::emulator {
namespace {

enum class State : uint8_t { kReady, kInWarp, kInGroup, kDone };

struct Fiber {
  Context context;
  State state = State::kReady;
  int line = 0;
};

struct Warp {
  uint32_t arrived = 0;
  int line = 0;
  void* given[32];
};

struct Group {
  Group(const Kernel& its_kernel, const void* its_args) : kernel(its_kernel), args(its_args), n(its_kernel.threads) {}

  std::deque<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<uint32_t> order, place;  // order[place[i]] == i
  Context main;
  const Kernel& kernel;
  const void* args;
  void* shared = nullptr;
  uint32_t current = 0, n, in_group = 0, done = 0;
  uint32_t x = 0, y = 0, z = 0;
  int group_line = 0;
  bool by_warp = true;
  char error[400] = "";  // what went wrong
};

thread_local Group* g = nullptr;
thread_local Statistics counts{};
std::atomic<bool> metal_fragments{false};

void switch_to(Context& from, Context& to, bool leaving = false) {
  ++counts.switches;
  from.switch_to(to, leaving);
}

// Ends the launch: nobody comes back to this stack, so nothing on it may own memory.
__attribute__((format(printf, 1, 2))) void fail(const char* format, ...) {
  char* to = g->error;
  const char* const end = g->error + sizeof g->error;
  to += std::snprintf(to, static_cast<size_t>(end - to), "%s, group (%u, %u, %u): ", g->kernel.name, g->x, g->y, g->z);
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(to, static_cast<size_t>(end - to), format, arguments);
  va_end(arguments);
  Context::release(&g->done);
  switch_to(g->fibers[g->current].context, g->main);
}

// Gives way to the next thread in order that can run; comes back when this one can.
void give_way(bool leaving) {
  Fiber& me = g->fibers[g->current];
  const uint32_t from = g->place[g->current];
  for (uint32_t i = 1; i <= 2 * g->n; ++i) {
    const uint32_t next = g->order[(from + i) % g->n];
    if (g->fibers[next].state != State::kReady) continue;
    if (next == g->current) return;
    // One warp runs as far ahead of the others as barriers let it: that is when a missing one shows.
    if (g->by_warp && i < g->n && next / 32 != g->current / 32) continue;
    g->current = next;
    return switch_to(me.context, g->fibers[next].context, leaving);
  }
  if (g->done == g->n) return switch_to(me.context, g->main, leaving);
  char told[200] = "";
  size_t length = 0;
  int n_told = 0, last_line = -1;
  for (uint32_t i = 0; i < g->n && n_told < 4; ++i) {
    const Fiber& f = g->fibers[i];
    const int line = f.state == State::kDone ? 0 : f.line;
    if (line == last_line) continue;
    last_line = line;
    ++n_told;
    char* const to = told + length;
    const int more = line == 0 ? std::snprintf(to, sizeof told - length, " thread %u has ended;", i)
                               : std::snprintf(to, sizeof told - length, " thread %u is at line %d;", i, line);
    length = std::min(sizeof told - 1, length + static_cast<size_t>(more));
  }
  fail("threads wait for others that do not come:%s", told);
}

void fiber_main() {
  Context::arrive(g->main);
  const uint32_t i = g->current;
  Context::acquire(&g->n);
  g->kernel.run(g->args, g->shared, {i % 32, i / 32, i, g->x, g->y, g->z});
  Context::release(&g->done);
  g->fibers[i].state = State::kDone;
  ++g->done;
  give_way(true);
  std::abort();
}

// Stacks are kept from launch to launch.
std::deque<Fiber>& fiber_pool() {
  thread_local std::deque<Fiber> pool;
  return pool;
}

void run_group(Group& group, const Kernel& kernel) {
  ++counts.groups;
  group.in_group = group.done = 0;
  for (uint32_t k = 0; k < group.n; ++k) group.place[group.order[k]] = k;
  for (Warp& warp : group.warps) warp.arrived = 0;
  std::memset(group.shared, 0xFF, kernel.shared_bytes);
  for (uint32_t k = 0; k < group.n; ++k) {
    group.fibers[k].state = State::kReady;
    group.fibers[k].context.prepare(fiber_main);
  }
  group.current = group.order[0];
  Context::release(&group.n);
  switch_to(group.main, group.fibers[group.current].context);
  Context::acquire(&group.done);
}

}  // namespace

Statistics statistics() { return counts; }

void use_metal_fragments(bool yes) { metal_fragments.store(yes, std::memory_order_relaxed); }
bool has_metal_fragments() { return metal_fragments.load(std::memory_order_relaxed); }

uint32_t lane() { return g->current % 32; }

void check_aligned(const void* address, size_t bytes, int line) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) fail("line %d: address not a multiple of %zu", line, bytes);
}

void group_barrier(int line) {
  Fiber& me = g->fibers[g->current];
  me.line = line;
  if (g->in_group > 0 && g->group_line != line) fail("barriers at lines %d and %d at once", g->group_line, line);
  g->group_line = line;
  Context::release(&g->in_group);
  if (++g->in_group == g->n) {
    g->in_group = 0;
    for (uint32_t i = 0; i < g->n; ++i) g->fibers[i].state = State::kReady;
  } else {
    me.state = State::kInGroup;
    give_way(false);
  }
  Context::acquire(&g->in_group);
}

void warp_collective(void* mine, void (*combine)(void* const* lanes), int line) {
  ++counts.collectives;
  Fiber& me = g->fibers[g->current];
  const uint32_t first = g->current / 32 * 32;
  Warp& warp = g->warps[g->current / 32];
  me.line = line;
  if (warp.arrived > 0 && warp.line != line) fail("lanes of a warp at lines %d and %d at once", warp.line, line);
  warp.line = line;
  warp.given[g->current % 32] = mine;
  Context::release(&warp);
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    Context::acquire(&warp);
    if (combine != nullptr) combine(warp.given);
    Context::release(&warp);
    for (uint32_t i = first; i < first + 32; ++i) g->fibers[i].state = State::kReady;
  } else {
    me.state = State::kInWarp;
    give_way(false);
  }
  Context::acquire(&warp);
}

void launch(const Kernel& kernel, Grid grid, const void* args, Groups groups, Order order, uint32_t seed) {
  if (kernel.threads % 32 != 0) throw KernelError("threads not a multiple of a warp");
  Group group(kernel, args);
  group.fibers.swap(fiber_pool());
  while (group.fibers.size() < kernel.threads) group.fibers.emplace_back();
  group.warps.resize(kernel.threads / 32);
  group.order.resize(group.n);
  group.place.resize(group.n);
  std::iota(group.order.begin(), group.order.end(), 0u);
  if (order == Order::kBackward) std::reverse(group.order.begin(), group.order.end());
  group.by_warp = order != Order::kShuffled;
  std::mt19937 random(seed);
  // Of whole cache lines; else of its exact size, so that AddressSanitizer sees its end.
  const std::unique_ptr<void, decltype(&std::free)> shared(std::aligned_alloc(64, (kernel.shared_bytes + 63) / 64 * 64),
                                                           &std::free);
  group.shared = shared.get();
  ++counts.launches;
  g = &group;
  group.main.adopt();
  const uint64_t end = std::min(groups.end, uint64_t{grid.x} * grid.y * grid.z);
  for (uint64_t index = groups.first; index < end && group.error[0] == 0; ++index) {
    const uint64_t i = order == Order::kBackward ? end - 1 - (index - groups.first) : index;
    group.x = static_cast<uint32_t>(i % grid.x);
    group.y = static_cast<uint32_t>(i / grid.x % grid.y);
    group.z = static_cast<uint32_t>(i / grid.x / grid.y);
    if (order == Order::kShuffled) std::shuffle(group.order.begin(), group.order.end(), random);
    run_group(group, kernel);
  }
  g = nullptr;
  group.fibers.swap(fiber_pool());
  if (group.error[0] != 0) throw KernelError(group.error);
}

}  // namespace t5g::emulator
