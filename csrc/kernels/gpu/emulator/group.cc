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
#include <utility>
#include <vector>

#include "kernels/gpu/emulator/context.h"

namespace t5g::emulator {
namespace {

// The threads that can run: bit i of word k is place 32 k + i of the order.
constexpr uint32_t kAll = ~0u;

struct Warp {
  uint32_t arrived = 0;
  int line = 0;
  void* given[32];
};

struct Group {
  Group(const Kernel& its_kernel, const void* its_args) : kernel(its_kernel), args(its_args), n(its_kernel.threads) {}

  // Of each thread: its stack, whether it has begun, the line where it waits (0: it has ended), and what it loaded with
  // its warp, the line of the last one and a hash of all.
  std::vector<Context*> stacks;
  std::vector<uint8_t> begun;
  std::vector<int> lines, load_lines;
  std::vector<uint32_t> loads;
  std::vector<Warp> warps;
  std::vector<uint32_t> order, place;  // order[place[i]] == i
  std::vector<uint32_t> ready;
  Context main;
  const Kernel& kernel;
  const void* args;
  void* shared = nullptr;
  uint32_t current = 0, n, in_group = 0, done = 0;
  uint32_t x = 0, y = 0, z = 0;
  int group_line = 0;
  bool by_warp = true;  // the threads of a warp are neighbours in order
  bool has_loads = false;
  Statistics counts{};
  char error[400] = "";  // what went wrong
};

// Asked for all the time: so its place is known when the library is loaded, where the system's loader can do that.
#ifdef __GLIBC__
__attribute__((tls_model("initial-exec")))
#endif
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

void set_ready(Group& group, uint32_t place) { group.ready[place / 32] |= 1u << place % 32; }

// All of a warp, or of the group.
void set_warp_ready(Group& group, uint32_t first) {
  if (group.by_warp) {
    group.ready[group.place[first] / 32] = kAll;
  } else {
    for (uint32_t i = first; i < first + 32; ++i) set_ready(group, group.place[i]);
  }
}
void set_all_ready(Group& group) {
  for (uint32_t& word : group.ready) {
    word = kAll;
    // Not memset, which ThreadSanitizer sees even in code that it was not compiled into.
    asm volatile("" ::: "memory");
  }
}

// The next thread in order that can run; n: none. One warp runs as far ahead of the others as barriers let it: that is
// when a missing one shows.
uint32_t next_ready(const Group& group) {
  const uint32_t from = group.place[group.current], word = from / 32;
  const auto first_of = [&](uint32_t k, uint32_t bits) {
    return group.order[32 * k + static_cast<uint32_t>(__builtin_ctz(bits))];
  };
  const uint32_t own = group.ready[word], later = own & kAll << from % 32 << 1;
  if (later != 0) return first_of(word, later);
  if (group.by_warp && own != 0) return first_of(word, own);
  const auto n_words = static_cast<uint32_t>(group.ready.size());
  for (uint32_t i = 1; i < n_words; ++i) {
    const uint32_t k = word + i < n_words ? word + i : word + i - n_words;
    if (group.ready[k] != 0) return first_of(k, group.ready[k]);
  }
  return own != 0 ? first_of(word, own) : group.n;
}

void fiber_main();

void go_on_with(Group& group, Context& from, uint32_t thread, bool leaving = false) {
  group.current = thread;
  if (group.begun[thread] == 0) group.stacks[thread]->prepare(fiber_main);
  switch_to(group, from, *group.stacks[thread], leaving);
}

// This thread waits, or has ended.
void set_waiting(Group& group) {
  const uint32_t place = group.place[group.current];
  group.ready[place / 32] &= ~(1u << place % 32);
}

// Gives way to the next thread in order that can run; comes back when this one can.
void give_way(bool leaving) {
  Group& group = *g;
  Context& mine = *group.stacks[group.current];
  set_waiting(group);
  if (const uint32_t next = next_ready(group); next < group.n) return go_on_with(group, mine, next, leaving);
  if (group.done == group.n) return switch_to(group, mine, group.main, leaving);
  char told[200] = "";
  size_t length = 0;
  int n_told = 0, last_line = -1;
  for (uint32_t i = 0; i < group.n && n_told < 4; ++i) {
    const int line = group.lines[i];
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

// That lanes [first, end) have loaded the same as those that they are in a warp with.
void check_loads(const Group& group, uint32_t first, uint32_t end) {
  if (!group.has_loads) return;
  for (uint32_t i = first; i < end; ++i) {
    const uint32_t other = i / 32 * 32;
    if (group.loads[i] != group.loads[other])
      fail("lanes %u and %u of a warp load different things, the last at lines %d and %d", other % 32, i % 32,
           group.load_lines[other], group.load_lines[i]);
  }
}

// Whether the next thread has yet to begin: then it can do so on the stack of this one, which has ended, and no stacks
// change places. ThreadSanitizer, to which a stack is a thread, would see no races of the two.
bool take_next() {
#ifdef T5G_TSAN
  return false;
#else
  Group& group = *g;
  set_waiting(group);
  const uint32_t next = next_ready(group);
  if (next == group.n || group.begun[next] != 0) return false;
  std::swap(group.stacks[group.current], group.stacks[next]);
  group.current = next;
  return true;
#endif
}

void fiber_main() {
  Context::arrive(g->main);
  Context::acquire(&g->n);
  do {
    const uint32_t i = g->current;
    g->begun[i] = 1;
    g->kernel.run(g->args, g->shared, {i % 32, i / 32, i, g->x, g->y, g->z});
    g->lines[i] = 0;
    if (++g->done == g->n) check_loads(*g, 0, g->n);
  } while (take_next());
  Context::release(&g->done);
  give_way(true);
  std::abort();
}

void run_group(Group& group, const Kernel& kernel) {
  ++group.counts.groups;
  group.in_group = group.done = 0;
  for (uint32_t k = 0; k < group.n; ++k) group.place[group.order[k]] = k;
  for (Warp& warp : group.warps) warp.arrived = 0;
  std::memset(group.shared, 0xFF, kernel.shared_bytes);
  std::fill(group.begun.begin(), group.begun.end(), uint8_t{0});
  set_all_ready(group);
  if (std::exchange(group.has_loads, false)) {
    std::fill(group.loads.begin(), group.loads.end(), 0u);
    std::fill(group.load_lines.begin(), group.load_lines.end(), 0);
  }
  Context::release(&group.n);
  go_on_with(group, group.main, group.order[0]);
  Context::acquire(&group.done);
  if (group.error[0] == 0) return;
  for (Context* stack : group.stacks) stack->clean();
}

}  // namespace

struct Stacks::Fibers {
  std::deque<Context> all;
};
Stacks::Stacks() : fibers_(std::make_unique<Fibers>()) {}
Stacks::~Stacks() = default;

Statistics statistics() { return all_counts; }

void use_metal_fragments(bool yes) { metal_fragments.store(yes, std::memory_order_relaxed); }

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
    check_loads(group, 0, group.n);
    set_all_ready(group);
  } else {
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
    check_loads(group, first, first + 32);
    Context::acquire(&warp);
    if (combine != nullptr) combine(warp.given);
    Context::release(&warp);
    set_warp_ready(group, first);
  } else {
    give_way(false);
  }
  Context::acquire(&warp);
}

void warp_load(int line) {
  Group& group = *g;
  group.has_loads = true;
  group.load_lines[group.current] = line;
  uint32_t& loads = group.loads[group.current];
  loads = loads * 31 + static_cast<uint32_t>(line);
}

bool launch(const Kernel& kernel, Grid grid, const void* args, const How& how) {
  thread_local Stacks own;
  std::deque<Context>& stacks = (how.stacks == nullptr ? own : *how.stacks).fibers_->all;
  if (kernel.threads % 32 != 0) throw KernelError("threads not a multiple of a warp");
  Group group(kernel, args);
  while (stacks.size() < group.n) stacks.emplace_back(stacks.size());
  for (uint32_t i = 0; i < group.n; ++i) group.stacks.push_back(&stacks[i]);
  group.begun.resize(group.n);
  group.lines.resize(group.n);
  group.load_lines.resize(group.n);
  group.loads.resize(group.n);
  group.ready.resize(kernel.threads / 32);
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
  group.main.adopt();
  bool stopped = false;
  const uint64_t first = how.groups.first, end = std::min(how.groups.end, uint64_t{grid.x} * grid.y * grid.z);
  for (uint64_t index = first; index < end && group.error[0] == 0; ++index) {
    if (how.stop != nullptr && (*how.stop)()) {
      stopped = true;
      break;
    }
    const uint64_t i = how.order == Order::kBackward ? end - 1 - (index - first) : index;
    group.x = static_cast<uint32_t>(i % grid.x);
    group.y = static_cast<uint32_t>(i / grid.x % grid.y);
    group.z = static_cast<uint32_t>(i / grid.x / grid.y);
    if (how.order == Order::kShuffled) std::shuffle(group.order.begin(), group.order.end(), random);
    g = &group;
    run_group(group, kernel);
    g = nullptr;
  }
  ++all_counts.launches;
  all_counts.groups += group.counts.groups;
  all_counts.switches += group.counts.switches;
  all_counts.collectives += group.counts.collectives;
  if (group.error[0] != 0) throw KernelError(group.error);
  return !stopped;
}

}  // namespace t5g::emulator
