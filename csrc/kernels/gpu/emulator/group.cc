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

// Neither bytes nor zero: filling with them would be memset, which ThreadSanitizer sees even in code that it was not
// compiled into.
enum class State : uint32_t { kReady = 1, kInWarp, kInGroup, kDone };

struct Warp {
  uint32_t arrived = 0;
  int line = 0;
  void* given[32];
};

struct Group {
  Group(const Kernel& its_kernel, const void* its_args) : kernel(its_kernel), args(its_args), n(its_kernel.threads) {}

  // Of each thread: its stack, what it does, and the line where it waits.
  std::vector<Context*> stacks;
  std::vector<State> states;
  std::vector<int> lines;
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
  Statistics counts{};
  char error[400] = "";  // what went wrong
};

thread_local Group* g = nullptr;
thread_local Statistics all_counts{};

void switch_to(Group& group, Context& from, Context& to, bool leaving = false) {
  ++group.counts.switches;
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
  switch_to(*g, *g->stacks[g->current], g->main);
}

// The next thread in order that can run; n: none. One warp runs as far ahead of the others as barriers let it: that is
// when a missing one shows.
uint32_t next_ready(const Group& group) {
  const uint32_t from = group.place[group.current];
  const auto is_ready = [&](uint32_t place) { return group.states[group.order[place]] == State::kReady; };
  if (group.by_warp) {
    const uint32_t warp = from / 32 * 32;  // whose threads are neighbours in order
    for (uint32_t i = 1; i < 32; ++i) {
      const uint32_t place = warp + (from + i) % 32;
      if (is_ready(place)) return group.order[place];
    }
  }
  for (uint32_t i = 1; i <= group.n; ++i) {
    const uint32_t place = from + i < group.n ? from + i : from + i - group.n;
    if (is_ready(place)) return group.order[place];
  }
  return group.n;
}

// Gives way to the next thread in order that can run; comes back when this one can.
void give_way(bool leaving) {
  Group& group = *g;
  Context& mine = *group.stacks[group.current];
  if (const uint32_t next = next_ready(group); next < group.n) {
    group.current = next;
    return switch_to(group, mine, *group.stacks[next], leaving);
  }
  if (group.done == group.n) return switch_to(group, mine, group.main, leaving);
  char told[200] = "";
  size_t length = 0;
  int n_told = 0, last_line = -1;
  for (uint32_t i = 0; i < group.n && n_told < 4; ++i) {
    const int line = group.states[i] == State::kDone ? 0 : group.lines[i];
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
  g->states[i] = State::kDone;
  ++g->done;
  give_way(true);
  std::abort();
}

void run_group(Group& group, const Kernel& kernel) {
  ++group.counts.groups;
  group.in_group = group.done = 0;
  for (uint32_t k = 0; k < group.n; ++k) group.place[group.order[k]] = k;
  for (Warp& warp : group.warps) warp.arrived = 0;
  std::memset(group.shared, 0xFF, kernel.shared_bytes);
  for (uint32_t k = 0; k < group.n; ++k) {
    group.states[k] = State::kReady;
    group.stacks[k]->prepare(fiber_main);
  }
  group.current = group.order[0];
  Context::release(&group.n);
  switch_to(group, group.main, *group.stacks[group.current]);
  Context::acquire(&group.done);
}

}  // namespace

struct Stacks::Fibers {
  std::deque<Context> all;
};
Stacks::Stacks() : fibers_(std::make_unique<Fibers>()) {}
Stacks::~Stacks() = default;

Statistics statistics() { return all_counts; }

void use_metal_fragments(bool yes) { metal_fragments.store(yes, std::memory_order_relaxed); }

uint32_t lane() { return g->current % 32; }

void check_aligned(const void* address, size_t bytes, int line) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) fail("line %d: address not a multiple of %zu", line, bytes);
}

void group_barrier(int line) {
  Group& group = *g;
  group.lines[group.current] = line;
  if (group.in_group > 0 && group.group_line != line)
    fail("barriers at lines %d and %d at once", group.group_line, line);
  group.group_line = line;
  Context::release(&group.in_group);
  if (++group.in_group == group.n) {
    group.in_group = 0;
    std::fill(group.states.begin(), group.states.end(), State::kReady);
  } else {
    group.states[group.current] = State::kInGroup;
    give_way(false);
  }
  Context::acquire(&group.in_group);
}

void warp_collective(void* mine, void (*combine)(void* const* lanes), int line) {
  Group& group = *g;
  ++group.counts.collectives;
  const uint32_t first = group.current / 32 * 32;
  Warp& warp = group.warps[group.current / 32];
  group.lines[group.current] = line;
  if (warp.arrived > 0 && warp.line != line) fail("lanes of a warp at lines %d and %d at once", warp.line, line);
  warp.line = line;
  warp.given[group.current % 32] = mine;
  Context::release(&warp);
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    Context::acquire(&warp);
    if (combine != nullptr) combine(warp.given);
    Context::release(&warp);
    std::fill_n(group.states.begin() + first, 32, State::kReady);
  } else {
    group.states[group.current] = State::kInWarp;
    give_way(false);
  }
  Context::acquire(&warp);
}

void launch(const Kernel& kernel, Grid grid, const void* args, const How& how) {
  thread_local Stacks own;
  std::deque<Context>& stacks = (how.stacks == nullptr ? own : *how.stacks).fibers_->all;
  if (kernel.threads % 32 != 0) throw KernelError("threads not a multiple of a warp");
  Group group(kernel, args);
  while (stacks.size() < group.n) stacks.emplace_back();
  for (uint32_t i = 0; i < group.n; ++i) group.stacks.push_back(&stacks[i]);
  group.states.resize(group.n);
  group.lines.resize(group.n);
  group.warps.resize(kernel.threads / 32);
  group.order.resize(group.n);
  group.place.resize(group.n);
  std::iota(group.order.begin(), group.order.end(), 0u);
  if (how.order == Order::kBackward) std::reverse(group.order.begin(), group.order.end());
  group.by_warp = how.order != Order::kShuffled;
  std::mt19937 random(how.seed);
  // Of whole cache lines; else of its exact size, so that AddressSanitizer sees its end.
  const std::unique_ptr<void, decltype(&std::free)> shared(std::aligned_alloc(64, (kernel.shared_bytes + 63) / 64 * 64),
                                                           &std::free);
  group.shared = shared.get();
  g = &group;
  group.main.adopt();
  const uint64_t first = how.groups.first, end = std::min(how.groups.end, uint64_t{grid.x} * grid.y * grid.z);
  for (uint64_t index = first; index < end && group.error[0] == 0; ++index) {
    const uint64_t i = how.order == Order::kBackward ? end - 1 - (index - first) : index;
    group.x = static_cast<uint32_t>(i % grid.x);
    group.y = static_cast<uint32_t>(i / grid.x % grid.y);
    group.z = static_cast<uint32_t>(i / grid.x / grid.y);
    if (how.order == Order::kShuffled) std::shuffle(group.order.begin(), group.order.end(), random);
    run_group(group, kernel);
  }
  g = nullptr;
  ++all_counts.launches;
  all_counts.groups += group.counts.groups;
  all_counts.switches += group.counts.switches;
  all_counts.collectives += group.counts.collectives;
  if (group.error[0] != 0) throw KernelError(group.error);
}

}  // namespace t5g::emulator
