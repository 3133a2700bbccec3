// That the emulation finds what a GPU would not say: kernels with a fault each.
#include "cases.h"
#include "kernels/gpu/prelude.h"

namespace t5g::gpu::test {
namespace {

struct Args {
  float* out;
};
struct Shared {
  float values[64];
};

template <void (*kBody)(const Args& args, Shared& shared, Thread t)>
emulator::Kernel kernel() {
  return {"faulty", 64, sizeof(Args), sizeof(Shared), [](const void* args, void* shared, Thread t) {
            kBody(*static_cast<const Args*>(args), *static_cast<Shared*>(shared), t);
          }};
}

void barrier_in_a_branch(const Args&, Shared&, Thread t) {
  if (t.index < 40) group_barrier();
}
void two_barriers(const Args&, Shared&, Thread t) {
  if (t.warp == 0) {
    group_barrier();
  } else {
    group_barrier();
  }
}
void lane_that_left(const Args& args, Shared&, Thread t) {
  if (t.lane == 7) return;
  args.out[t.index] = warp_shuffle(1.0f, 0);
}
void lanes_apart(const Args& args, Shared&, Thread t) {
  if (t.lane < 16) {
    args.out[t.index] = warp_shuffle(1.0f, 0);
  } else {
    args.out[t.index] = warp_shuffle(1.0f, 1);
  }
}
void tile_between_rows(const Args&, Shared& shared, Thread t) {
  FragA a;
  load_a(a, reinterpret_cast<uint16_t*>(shared.values) + 1, 8, t);
}

// In half a warp, and in some lanes once more than in others.
void tile_of_some_lanes(const Args&, Shared& shared, Thread t) {
  FragA a;
  if (t.lane < 16) load_a(a, reinterpret_cast<uint16_t*>(shared.values), 0, t);
}
void tiles_that_differ(const Args& args, Shared& shared, Thread t) {
  FragB b;
  for (uint32_t i = 0; i < 1 + t.lane / 31; ++i) load_b(b, reinterpret_cast<uint16_t*>(shared.values), 0, t);
  args.out[t.index] = warp_shuffle(1.0f, 0);
}

template <void (*kBody)(const Args& args, Shared& shared, Thread t)>
void finds(const std::string& expected) {
  const Memory<float> out(64);
  const Args args{out.data()};
  std::string found;
  try {
    emulator::launch(kernel<kBody>(), {}, &args);
  } catch (const emulator::KernelError& error) {
    found = error.what();
  }
  check(found.find(expected) != std::string::npos, "emulation: expected '" + expected + "', found '" + found + "'");
}

// A neighbour's value, without a barrier in between, and with it.
void no_barrier(const Args& args, Shared& shared, Thread t) {
  shared.values[t.index] = static_cast<float>(t.index);
  args.out[t.index] = shared.values[63 - t.index];
}
void with_barrier(const Args& args, Shared& shared, Thread t) {
  shared.values[t.index] = static_cast<float>(t.index);
  group_barrier();
  args.out[t.index] = shared.values[63 - t.index];
}
template <void (*kBody)(const Args& args, Shared& shared, Thread t)>
bool is_right_in_every_order() {
  bool right = true;
  for (const auto order : {emulator::Order::kForward, emulator::Order::kBackward, emulator::Order::kShuffled}) {
    const Memory<float> out(64);
    const Args args{out.data()};
    emulator::launch(kernel<kBody>(), {}, &args, {.order = order, .seed = 3});
    for (size_t i = 0; i < 64; ++i) right = right && out[i] == static_cast<float>(63 - i);
  }
  return right;
}

}  // namespace

void test_emulator() {
  check(is_right_in_every_order<with_barrier>(), "emulation: a barrier does not hold");
#ifdef __SANITIZE_THREAD__
  constexpr bool kFaults = false;  // which leave threads where they are, or are races
#else
  constexpr bool kFaults = true;
#endif
  if (!kFaults) return;
  finds<barrier_in_a_branch>("thread 0 is at line");
  finds<two_barriers>("at once");
  finds<lane_that_left>("thread 7 has ended");
  finds<lanes_apart>("at once");
  finds<tile_between_rows>("address not a multiple of 16");
  finds<tile_of_some_lanes>("lanes 0 and 16 of a warp load different things");
  finds<tiles_that_differ>("lanes 0 and 31 of a warp load different things");
  check(!is_right_in_every_order<no_barrier>(), "emulation: a missing barrier is not found");
}

}  // namespace t5g::gpu::test
