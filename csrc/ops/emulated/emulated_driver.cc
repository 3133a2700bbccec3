// A queue of commands that runs when somebody asks whether it has run. Device memory is mapped block by block, each
// with a page behind it that nobody can touch, and readable only while the queue runs.
#include "ops/emulated/emulated_driver.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/printable.h"
#include "base/thread_pool.h"
#include "kernels/gpu/emulator/emulated.h"
#include "tensor/buffer.h"

namespace t5g::emulated {
namespace {

using gpu::Address;
using gpu::Grid;
using gpu::HostMemory;
using gpu::KernelIndex;

// Items that a launch's groups are divided into, so that threads share them.
constexpr uint64_t kItemsPerLaunch = 256;

struct {
  std::atomic<int64_t> allocations, launches, copies, bytes_up, bytes_down, replays;
} total;

// Items in an order in which hardly any comes after its neighbour. A GPU promises none, so a group that reads what
// another of its launch writes must be found out here.
class ScatteredItems {
 public:
  explicit ScatteredItems(uint64_t n) : n_(n), stride_(n * 5 / 8 + 1) {
    while (std::gcd(stride_, n_) != 1) ++stride_;
  }
  uint64_t operator[](uint64_t i) const { return (n_ / 2 + i * stride_) % n_; }

 private:
  uint64_t n_, stride_;
};

size_t page_bytes() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

// T5G_EMULATED_MEMORY: in MiB, for tests of a device that has little. Else what the machine has.
size_t memory_bytes() {
  if (const char* text = std::getenv("T5G_EMULATED_MEMORY"); text != nullptr && *text != '\0') {
    const std::string_view given(text);
    uint32_t mebibytes = 0;
    const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), mebibytes);
    if (error != std::errc() || end != given.data() + given.size())
      throw InvalidArgument("T5G_EMULATED_MEMORY is '" + printable(text) + "', expected a number of MiB.");
    return size_t{mebibytes} << 20;
  }
  return static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) * page_bytes();
}

// T5G_EMULATED_TWICE=1: every launch runs twice, the second time on what the first has found and with its groups in the
// opposite order, and has to leave the same bytes. For small models: it copies all of the device's memory.
bool runs_twice() {
  const char* text = std::getenv("T5G_EMULATED_TWICE");
  return text != nullptr && std::string_view(text) == "1";
}

// Not of the heap, which would keep some of it when the device is closed.
class PlainHostMemory final : public HostMemory {
 public:
  explicit PlainHostMemory(Buffer memory)
      : HostMemory(memory.data(), memory.size_bytes()), memory_(std::move(memory)) {}

 private:
  const Buffer memory_;
};

struct Command {
  enum class Kind : uint8_t { kLaunch, kUpload, kDownload, kCopy, kZero, kReplay } kind;
  KernelIndex kernel = 0;
  Grid grid;
  alignas(16) std::array<std::byte, gpu::kMaxArgsBytes> args;
  std::byte* host = nullptr;
  Address from = 0, to = 0;
  size_t size_bytes = 0;
  const gpu::Plan* plan = nullptr;
};

class CommandList final : public gpu::Plan {
 public:
  std::vector<Command> commands;
};

class EmulatedDriver final : public gpu::Driver {
 public:
  explicit EmulatedDriver(int n_threads)
      : pool_(n_threads),
        stacks_(static_cast<size_t>(pool_.n_threads())),
        memory_bytes_(memory_bytes()),
        runs_twice_(runs_twice()) {}
  ~EmulatedDriver() override {
    for (const auto& [address, block] : blocks_) ::munmap(block.mapping, block.mapped_bytes);
    bury();
  }

  std::string name() const override { return "emulated"; }
  std::string description() const override { return "GPU kernels that run on the CPU, for tests"; }
  int n_processors() const override { return 1; }
  int n_threads() const override { return pool_.n_threads(); }

  size_t free_bytes() override {
    const std::lock_guard lock(mutex_);
    return memory_bytes_ - std::min(memory_bytes_, used_bytes_);
  }
  Address allocate(size_t size_bytes) override;
  void free(Address memory) noexcept override;
  std::unique_ptr<HostMemory> allocate_host(size_t size_bytes) override {
    total.allocations.fetch_add(1);
    return std::make_unique<PlainHostMemory>(Buffer(size_bytes));
  }

  void launch(KernelIndex kernel, Grid grid, std::span<const std::byte> args) override {
    Command& command = add(Command::Kind::kLaunch);
    command.kernel = kernel;
    command.grid = grid;
    std::copy(args.begin(), args.end(), command.args.begin());
  }
  void upload(const HostMemory& from, size_t offset, Address to, size_t size_bytes) override {
    assert(offset + size_bytes <= from.size_bytes());
    add(Command::Kind::kUpload, from.data() + offset, 0, to, size_bytes);
  }
  void download(Address from, HostMemory& to, size_t offset, size_t size_bytes) override {
    assert(offset + size_bytes <= to.size_bytes());
    add(Command::Kind::kDownload, to.data() + offset, from, 0, size_bytes);
  }
  void copy(Address from, Address to, size_t size_bytes) override {
    add(Command::Kind::kCopy, nullptr, from, to, size_bytes);
  }
  void fill_zero(Address memory, size_t size_bytes) override {
    add(Command::Kind::kZero, nullptr, 0, memory, size_bytes);
  }
  void write(std::span<const std::byte> from, Address to) override {
    run();
    const Opened opened(*this);
    std::memcpy(reinterpret_cast<void*>(to), from.data(), from.size());
    total.copies.fetch_add(1);
    total.bytes_up.fetch_add(std::ssize(from));
  }

  void begin_recording() override { recording_ = std::make_unique<CommandList>(); }
  std::unique_ptr<gpu::Plan> end_recording(bool keep) override {
    auto recorded = std::exchange(recording_, nullptr);
    if (!keep) recorded = nullptr;
    return recorded;
  }
  void replay(const gpu::Plan& plan) override {
    total.replays.fetch_add(1);
    add(Command::Kind::kReplay).plan = &plan;
  }

  uint64_t mark() override { return ++last_mark_; }
  bool has_passed(uint64_t) override {
    run();
    return true;
  }
  void use_interrupt(Interrupt* interrupt) override { interrupt_ = interrupt; }
  void settle() noexcept override {
    // Copies alone: what launches would have written nobody has waited for.
    const Opened opened(*this);
    finish_copies(queue_);
    queue_.clear();
  }

 private:
  struct Block {
    void* mapping;
    size_t mapped_bytes, size_bytes;
    // It ends where the page behind it begins.
    std::byte* data() const { return static_cast<std::byte*>(mapping) + mapped_bytes - page_bytes() - size_bytes; }
  };
  using Contents = std::map<std::byte*, std::vector<std::byte>>;  // of every block
  // Device memory can be touched as long as it lives.
  class Opened {
   public:
    explicit Opened(EmulatedDriver& driver) : driver_(driver) { driver_.protect(PROT_READ | PROT_WRITE); }
    ~Opened() { driver_.protect(PROT_NONE); }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;

   private:
    EmulatedDriver& driver_;
  };

  Command& add(Command::Kind kind, std::byte* host = nullptr, Address from = 0, Address to = 0, size_t size_bytes = 0) {
    Command& command = (recording_ != nullptr ? recording_->commands : queue_).emplace_back();
    command.kind = kind;
    command.host = host;
    command.from = from;
    command.to = to;
    command.size_bytes = size_bytes;
    return command;
  }
  void run();
  void execute(const Command& command);
  void run_kernel(const Command& command, emulator::Order order = emulator::Order::kForward);
  void run_kernel_twice(const Command& command);
  static void run_copy(const Command& command);
  static void finish_copies(std::span<const Command> commands);
  void protect(int protection);
  template <typename Function>
  void for_each_block(Function function);
  Contents contents();
  void bury();

  ThreadPool pool_;
  std::vector<emulator::Stacks> stacks_;  // of each thread
  const size_t memory_bytes_;
  const bool runs_twice_;
  std::mutex mutex_;
  std::map<Address, Block> blocks_;
  std::vector<Block> dead_;  // freed while the queue ran
  size_t used_bytes_ = 0;

  std::vector<Command> queue_;
  std::unique_ptr<CommandList> recording_;
  Interrupt* interrupt_ = nullptr;
  uint64_t last_mark_ = 0;
};

Address EmulatedDriver::allocate(size_t size_bytes) {
  total.allocations.fetch_add(1);
  const size_t page = page_bytes(), whole = (size_bytes + page - 1) / page * page;
  const std::lock_guard lock(mutex_);
  void* mapping = MAP_FAILED;
  if (used_bytes_ + size_bytes <= memory_bytes_)
    mapping = ::mmap(nullptr, whole + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    throw DeviceError("device 'emulated': out of memory: " + std::to_string(size_bytes) + " bytes are needed, " +
                      std::to_string(memory_bytes_ - std::min(memory_bytes_, used_bytes_)) +
                      " are free. Use a smaller model, a smaller type or a shorter input.");
  }
  const Block block{mapping, whole + page, size_bytes};
  const auto address = reinterpret_cast<Address>(block.data());
  blocks_.emplace(address, block);
  used_bytes_ += size_bytes;
  return address;
}

void EmulatedDriver::free(Address memory) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(memory);
  dead_.push_back(found->second);
  used_bytes_ -= found->second.size_bytes;
  blocks_.erase(found);
}

void EmulatedDriver::bury() {
  for (const Block& block : dead_) ::munmap(block.mapping, block.mapped_bytes);
  dead_.clear();
}

// Those too that were freed while the queue ran, which it may still use.
template <typename Function>
void EmulatedDriver::for_each_block(Function function) {
  for (const auto& [address, block] : blocks_) function(block);
  for (const Block& block : dead_) function(block);
}

void EmulatedDriver::protect(int protection) {
  const std::lock_guard lock(mutex_);
  for_each_block([&](const Block& block) { ::mprotect(block.mapping, block.mapped_bytes - page_bytes(), protection); });
  // What was enqueued before a block was freed has run, or will never.
  if (protection == PROT_NONE) bury();
}

void EmulatedDriver::run() {
  if (queue_.empty()) return;
  const Opened opened(*this);
  size_t done = 0;
  try {
    for (; done < queue_.size(); ++done) execute(queue_[done]);
  } catch (...) {
    finish_copies(std::span(queue_).subspan(done));
    queue_.clear();
    throw;
  }
  queue_.clear();
}

void EmulatedDriver::execute(const Command& command) {
  if (command.kind == Command::Kind::kReplay) {
    for (const Command& recorded : static_cast<const CommandList*>(command.plan)->commands) execute(recorded);
  } else if (command.kind == Command::Kind::kLaunch) {
    if (runs_twice_)
      run_kernel_twice(command);
    else
      run_kernel(command);
  } else {
    run_copy(command);
  }
}

// Zeros and copies have their effect even where launches are dropped: memory that was filled stays filled.
void EmulatedDriver::finish_copies(std::span<const Command> commands) {
  for (const Command& command : commands) {
    if (command.kind != Command::Kind::kLaunch && command.kind != Command::Kind::kReplay) run_copy(command);
  }
}

void EmulatedDriver::run_copy(const Command& command) {
  void *to = reinterpret_cast<void*>(command.to), *from = reinterpret_cast<void*>(command.from);
  total.copies.fetch_add(1);
  switch (command.kind) {
    case Command::Kind::kUpload:
      total.bytes_up.fetch_add(static_cast<int64_t>(command.size_bytes));
      std::memcpy(to, command.host, command.size_bytes);
      break;
    case Command::Kind::kDownload:
      total.bytes_down.fetch_add(static_cast<int64_t>(command.size_bytes));
      std::memcpy(command.host, from, command.size_bytes);
      break;
    case Command::Kind::kCopy:
      std::memmove(to, from, command.size_bytes);
      break;
    default:
      std::memset(to, 0, command.size_bytes);
  }
}

EmulatedDriver::Contents EmulatedDriver::contents() {
  const std::lock_guard lock(mutex_);
  Contents all;
  for_each_block([&](const Block& block) {
    all.emplace(block.data(), std::vector(block.data(), block.data() + block.size_bytes));
  });
  return all;
}

void EmulatedDriver::run_kernel_twice(const Command& command) {
  const Contents found = contents();
  run_kernel(command, emulator::Order::kForward);
  const Contents left = contents();
  for (const auto& [to, bytes] : found) std::ranges::copy(bytes, to);
  run_kernel(command, emulator::Order::kBackward);
  const auto is_as_left = [](const auto& block) {
    return std::ranges::equal(block.second, std::span(block.first, block.second.size()));
  };
  if (std::ranges::all_of(left, is_as_left)) return;
  throw DeviceError(std::string("device 'emulated': what the kernel '") +
                    gpu::emulated(static_cast<gpu::KernelId>(command.kernel)).name +
                    "' leaves depends on the order in which its groups run.");
}

void EmulatedDriver::run_kernel(const Command& command, emulator::Order order) {
  const emulator::Kernel& kernel = gpu::emulated(static_cast<gpu::KernelId>(command.kernel));
  const emulator::Grid grid{command.grid.x, command.grid.y, command.grid.z};
  const uint64_t n_groups = uint64_t{grid.x} * grid.y * grid.z;
  const uint64_t per_item = (n_groups + kItemsPerLaunch - 1) / kItemsPerLaunch;
  const uint64_t n_items = (n_groups + per_item - 1) / per_item;
  const ScatteredItems items(n_items);
  total.launches.fetch_add(1);
  // The calling thread asks its interrupt before each group: one of a long source takes milliseconds. It alone tells of
  // it, as an exception may come with it; the others leave the groups that are left.
  std::atomic<bool> stopped{false};
  const auto ask = [&] {
    if (interrupt_ != nullptr && !stopped.load(std::memory_order_relaxed)) stopped = interrupt_->poll();
    return stopped.load(std::memory_order_relaxed);
  };
  const auto look = [&] { return stopped.load(std::memory_order_relaxed); };
  const emulator::Stop own(ask), others(look);
  try {
    pool_.parallel_for(static_cast<int64_t>(n_items), [&](int64_t i, int thread) {
      const auto forward = static_cast<uint64_t>(i);
      const uint64_t at = order == emulator::Order::kBackward ? n_items - 1 - forward : forward;
      const uint64_t first = items[at] * per_item;
      try {
        const bool all = emulator::launch(kernel, grid, command.args.data(),
                                          {.groups = {first, std::min(first + per_item, n_groups)},
                                           .order = order,
                                           .stacks = &stacks_[static_cast<size_t>(thread)],
                                           .stop = thread == 0 ? &own : &others});
        if (!all && thread == 0) throw Cancelled();
      } catch (...) {
        if (thread == 0) stopped = true;
        throw;
      }
    });
  } catch (const emulator::KernelError& error) {
    throw DeviceError(std::string("device 'emulated': ") + error.what() + ".");
  }
}

}  // namespace

Counts counts() {
  return {.allocations = total.allocations.load(),
          .launches = total.launches.load(),
          .copies = total.copies.load(),
          .bytes_up = total.bytes_up.load(),
          .bytes_down = total.bytes_down.load(),
          .replays = total.replays.load()};
}

std::unique_ptr<gpu::Driver> make_driver(int n_threads) { return std::make_unique<EmulatedDriver>(n_threads); }

}  // namespace t5g::emulated
