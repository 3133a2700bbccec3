// What a decode step asks of a GPU, counted on the emulated one: nothing is allocated, a batch goes up and a few bytes
// come down, a plan is replayed, and a layer is at most so many launches. And that the emulated GPU closes its memory
// to the host, says when it has none left, stops when it is told to, and finds kernels that lean on the order of
// groups.
//
//   gpu_steps MODEL.gguf ...
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/interrupt.h"
#include "checks.h"
#include "kernels/gpu/args.h"
#include "kernels/gpu/kernels.h"
#include "ops/emulated/emulated_driver.h"
#include "runtime/model.h"

namespace {

using namespace t5g;

// Self-then-cross attention has a second attention, with its query and its output.
int64_t launches_per_layer(const Config& config) {
  return config.decoder_attention == DecoderAttention::kMerged ? 5 : 8;
}
// The embedding, the sum and the norm at the end, the head's product and its merge, rows that are asked about.
constexpr int64_t kLaunchesBeside = 6;
constexpr int64_t kBytesDown = 4096;
// Of own keys and the source's, and what ops/gpu/fusion.cc allows.
constexpr size_t kParts = 2, kMostMergedParts = 4;

emulated::Counts difference(const emulated::Counts& a, const emulated::Counts& b) {
  return {.allocations = b.allocations - a.allocations,
          .launches = b.launches - a.launches,
          .copies = b.copies - a.copies,
          .bytes_up = b.bytes_up - a.bytes_up,
          .bytes_down = b.bytes_down - a.bytes_down,
          .replays = b.replays - a.replays};
}

// Greedy steps of n sequences with n_rows tokens each: more than one is a draft.
void check_steps(Model& model, size_t n, size_t n_rows) {
  const auto source = model.encode(std::vector<int32_t>(40, 5));
  const auto projected = model.project(*source, {});
  std::vector<KvCache> caches(n, model.new_cache());
  std::vector<Selection> best(n * n_rows);
  const std::vector<int32_t> tokens(n_rows, 7);
  std::vector<Model::Step> steps;
  for (Selection& selection : best) {
    selection.n_best = 1;
    selection.keep_hidden = true;
  }
  for (size_t i = 0; i < n; ++i)
    steps.push_back({projected.get(), &caches[i], tokens, std::span(best).subspan(i * n_rows, n_rows)});
  for (int i = 0; i < 3; ++i) model.decode(steps);

  constexpr int kSteps = 5;
  const emulated::Counts before = emulated::counts();
  for (int i = 0; i < kSteps; ++i) model.decode(steps);
  const emulated::Counts counts = difference(before, emulated::counts());
  T5G_CHECK(counts.allocations == 0);
  T5G_CHECK(counts.replays == kSteps);
  // Parts of attention to more than a few rows are merged by a launch of its own.
  const bool merges_apart = n * n_rows * kParts > kMostMergedParts;
  const int64_t per_layer = launches_per_layer(model.config()) + (merges_apart ? 1 : 0);
  const int64_t most = per_layer * model.config().decoder.num_hidden_layers + kLaunchesBeside;
  std::printf("%zu x %zu rows: %g launches, %g copies, %g bytes up, %g down a step\n", n, n_rows,
              static_cast<double>(counts.launches) / kSteps, static_cast<double>(counts.copies) / kSteps,
              static_cast<double>(counts.bytes_up) / kSteps, static_cast<double>(counts.bytes_down) / kSteps);
  T5G_CHECK(counts.launches <= kSteps * most);
  T5G_CHECK(counts.bytes_down <= kSteps * kBytesDown);
}

void check_closed_memory() {
  const auto driver = emulated::make_driver(1);
  const gpu::Address address = driver->allocate(4096);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    volatile const auto* memory = reinterpret_cast<const char*>(address);
    ::_exit(memory[0] == 0 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  T5G_CHECK(!WIFEXITED(status) || WEXITSTATUS(status) > 1);  // killed, or stopped by a sanitizer
  driver->free(address);
}

void check_no_memory(const char* path) {
  ::setenv("T5G_EMULATED_MEMORY", "1", 1);
  ModelOptions options{.device = "emulated"};
  std::string message;
  try {
    const Model model({.path = path}, options);
  } catch (const DeviceError& error) {
    message = error.what();
  }
  T5G_CHECK(message.find("weights need") != std::string::npos);
  ::unsetenv("T5G_EMULATED_MEMORY");
}

struct StopAt final : Interrupt {
  explicit StopAt(int n) : left(n) {}
  bool poll() override { return --left <= 0; }
  int left;
};

// An interrupt is asked before each group, however many a launch has, and none runs after it has said stop; then the
// driver goes on as if nothing had happened.
void check_stops_between_groups(int n_threads) {
  constexpr uint32_t kGroups = 4096;
  constexpr int kBegun = 4;
  constexpr size_t kValues = size_t{kGroups} * gpu::kElementsPerGroup;
  const auto driver = emulated::make_driver(n_threads);
  const gpu::Address address = driver->allocate(kValues * sizeof(float));
  const std::vector<float> twos(kValues, 2.0F);
  driver->write(std::as_bytes(std::span(twos)), address);
  // A value that is not capped to 1 is of a group that did not run.
  const gpu::ElementArgs args{reinterpret_cast<float*>(address), nullptr, kValues, gpu::kElementsPerGroup, 1.0F};
  const auto n_run = [&] {
    const auto values = driver->allocate_host(kValues * sizeof(float));
    driver->download(address, *values, 0, kValues * sizeof(float));
    T5G_CHECK(driver->has_passed(driver->mark()));
    const std::span found(reinterpret_cast<const float*>(values->data()), kValues);
    size_t n = 0;
    for (size_t i = 0; i < kValues; i += gpu::kElementsPerGroup) n += found[i] < 1 ? 1 : 0;
    return n;
  };
  const auto launch = [&] {
    driver->launch(static_cast<gpu::KernelIndex>(gpu::KernelId::softcap), {kGroups},
                   std::as_bytes(std::span(&args, 1)));
    driver->has_passed(driver->mark());
  };
  StopAt stop(kBegun + 1);
  driver->use_interrupt(&stop);
  bool cancelled = false;
  try {
    launch();
  } catch (const Cancelled&) {
    cancelled = true;
  }
  driver->use_interrupt(nullptr);
  T5G_CHECK(cancelled);
  T5G_CHECK(stop.left == 0);
  // How far other threads come meanwhile is theirs to say.
  if (n_threads == 1) T5G_CHECK(n_run() == kBegun);
  launch();
  T5G_CHECK(n_run() == kGroups);
  driver->free(address);
}

// Groups that copy to where others copy from: who comes first matters.
void check_order_is_found() {
  constexpr uint32_t kGroups = 4;
  constexpr size_t kGroupBytes = size_t{16} * gpu::kRowThreads, kBytes = kGroups * kGroupBytes;
  ::setenv("T5G_EMULATED_TWICE", "1", 1);
  for (const int n_threads : {1, 2}) {
    const auto driver = emulated::make_driver(n_threads);
    const gpu::Address address = driver->allocate(2 * kBytes);
    std::vector<std::byte> bytes(2 * kBytes);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i / kGroupBytes);
    driver->write(bytes, address);
    const auto copy = [&](size_t distance) {
      const gpu::CopyArgs args{reinterpret_cast<const uint8_t*>(address),
                               reinterpret_cast<uint8_t*>(address + distance), kBytes};
      driver->launch(static_cast<gpu::KernelIndex>(gpu::KernelId::copy_page), {kGroups},
                     std::as_bytes(std::span(&args, 1)));
      try {
        driver->has_passed(driver->mark());
      } catch (const DeviceError& error) {
        return std::string(error.what());
      }
      return std::string();
    };
    T5G_CHECK(copy(kBytes).empty());
    T5G_CHECK(copy(kGroupBytes).find("'copy_page' leaves depends on the order") != std::string::npos);
    driver->free(address);
  }
  ::unsetenv("T5G_EMULATED_TWICE");
}

}  // namespace

int main(int argc, char** argv) {
  check_closed_memory();
  for (const int n_threads : {1, 3}) check_stops_between_groups(n_threads);
  check_order_is_found();
  for (int i = 1; i < argc; ++i) {
    check_no_memory(argv[i]);
    // Halves, as with quantised weights: what fragments are made of.
    const ModelOptions options{.device = "emulated", .n_threads = 2, .kv_type = "f16"};
    Model model({.path = argv[i]}, options);
    for (const auto& [n, n_rows] : {std::pair<size_t, size_t>{1, 1}, {3, 1}, {2, 3}}) check_steps(model, n, n_rows);
  }
}
