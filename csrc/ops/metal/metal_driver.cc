// What is encoded, what is on its way, and what the host does in between.
#include "ops/metal/metal_driver.h"

#include <cassert>
#include <cstring>
#include <variant>

#include "base/error.h"
#include "base/fork_count.h"
#include "ops/gpu/messages.h"

namespace t5g::metal {
namespace {

// Longer work is sent off in pieces: the system ends what keeps the GPU for seconds. A decode step is below both.
constexpr int64_t kMostLaunches = 512;
// In groups of a product for few rows, which multiply 8 rows by 16 columns: a tenth of a second of an M1 with a 4B.
constexpr uint64_t kMostWork = uint64_t{1} << 18;

uint64_t work_of(gpu::KernelId kernel, gpu::Grid grid) {
  const bool is_heavy = gpu::is_matmul(kernel) || gpu::is_flash(kernel) || gpu::is_plain_attention(kernel);
  return uint64_t{grid.x} * grid.y * grid.z * (is_heavy ? 32 : 1);  // a tile of 64 x 64, a row's look at all keys
}

// What kernels read at a time, at most.
constexpr gpu::Address kAlignment = 16;

struct RecordedLaunch {
  gpu::KernelIndex kernel;
  gpu::Grid grid;
  size_t first_byte, n_bytes;  // of its arguments, among those of the plan
};
struct RecordedUpload {
  const gpu::HostMemory* from;
  size_t offset;
  gpu::Address to;
  size_t size_bytes;
};
struct RecordedDownload {
  gpu::Address from;
  gpu::HostMemory* to;
  size_t offset, size_bytes;
};
struct RecordedCopy {
  gpu::Address from, to;
  size_t size_bytes;
};
struct RecordedFill {
  gpu::Address memory;
  size_t size_bytes;
};
using Recorded = std::variant<RecordedLaunch, RecordedUpload, RecordedDownload, RecordedCopy, RecordedFill>;

class OrdinaryMemory final : public gpu::HostMemory {
 public:
  explicit OrdinaryMemory(std::unique_ptr<std::byte[]> memory, size_t size_bytes)
      : HostMemory(memory.get(), size_bytes), memory_(std::move(memory)) {}

 private:
  const std::unique_ptr<std::byte[]> memory_;
};

}  // namespace

// The calls of the recording, to be made again.
class MetalDriver::RecordedPlan final : public gpu::Plan {
 public:
  std::vector<Recorded> calls;
  std::vector<std::byte> args;
};

MetalDriver::MetalDriver() : gpu_(MetalGpu::get()), forks_(fork_count()) {
  queue_ = Owned(call::new_queue(gpu_.device()));
  fence_ = Owned(call::new_fence(gpu_.device()));
  if (!queue_ || !fence_) throw Unsupported("device 'metal': " + gpu_.product() + " gives no command queue.");
}

MetalDriver::~MetalDriver() { settle(); }

std::string MetalDriver::description() const { return gpu_.product() + ", " + gpu::bytes_text(gpu_.total_bytes()); }

void MetalDriver::check_usable() const {
  if (forks_ != fork_count())
    throw DeviceError(
        "device 'metal': this model was opened before the process was forked, and Metal does not work in the "
        "child. Open the model there, in a process started with multiprocessing's method 'spawn'.");
  if (!failure_.empty())
    throw DeviceError("device 'metal': " + gpu_.product() + " was lost to this model: " + failure_ +
                      ". Close the model and open it again.");
}

// ---- Memory
// -----------------------------------------------------------------------------------------------------------

size_t MetalDriver::free_bytes() {
  check_usable();
  return gpu_.free_bytes();
}

gpu::Address MetalDriver::allocate(size_t size_bytes) {
  assert(size_bytes > 0);
  check_usable();
  const AutoreleasePool pool;
  const size_t free = gpu_.free_bytes(), largest = largest_allocation();
  if (size_bytes > largest && size_bytes <= free)
    throw DeviceError("device 'metal': " + gpu_.product() + " gives " + gpu::bytes_text(largest) +
                      " of memory in one piece, and " + gpu::bytes_text(size_bytes) +
                      " were needed. Use a smaller model, a smaller type or a shorter input, or " +
                      to_give("device", "cpu") + ".");
  // Metal would give more than there is, and fail, or swap, when it is used.
  Owned buffer;
  if (size_bytes <= free) buffer = Owned(call::new_buffer(gpu_.device(), size_bytes, kSharedUntracked));
  if (!buffer)
    throw gpu::out_of_memory(name(), size_bytes, "of the GPU's memory",
                             {.free_bytes = free, .total_bytes = gpu_.total_bytes()});
  const gpu::Address address = call::gpu_address(buffer.get());
  auto* contents = static_cast<std::byte*>(call::contents(buffer.get()));
  if (address == 0 || address % kAlignment != 0 || contents == nullptr)
    throw DeviceError("device 'metal': " + gpu_.product() + " gave memory at an address that kernels cannot use.");
  const std::lock_guard lock(mutex_);
  blocks_.emplace(address, Block{std::move(buffer), contents, size_bytes});
  resident_changed_ = true;
  return address;
}

void MetalDriver::free(gpu::Address memory) noexcept {
  if (forks_ != fork_count()) return;
  const AutoreleasePool pool;
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(memory);
  assert(found != blocks_.end());
  if (busy_) freed_.push_back(std::move(found->second.buffer));
  blocks_.erase(found);
  resident_changed_ = true;
}

void MetalDriver::release_freed() noexcept {
  const std::lock_guard lock(mutex_);
  busy_ = false;
  freed_.clear();
}

std::unique_ptr<gpu::HostMemory> MetalDriver::allocate_host(size_t size_bytes) {
  return std::make_unique<OrdinaryMemory>(std::make_unique<std::byte[]>(size_bytes), size_bytes);
}

std::byte* MetalDriver::contents(gpu::Address memory) {
  const std::lock_guard lock(mutex_);
  const auto after = blocks_.upper_bound(memory);
  assert(after != blocks_.begin());
  const auto& [address, block] = *std::prev(after);
  assert(memory - address < block.size_bytes);
  return block.contents + (memory - address);
}

// ---- Launches
// ---------------------------------------------------------------------------------------------------------

void MetalDriver::declare_resident() {
  const std::lock_guard lock(mutex_);
  busy_ = true;
  if (!resident_changed_) return;
  std::vector<Id> buffers;
  buffers.reserve(blocks_.size());
  for (const auto& [address, block] : blocks_) buffers.push_back(block.buffer.get());
  if (!buffers.empty()) call::use_resources(open_encoder_.get(), buffers.data(), buffers.size(), kReadAndWrite);
  resident_changed_ = false;
}

Id MetalDriver::encoder() {
  if (!downloads_.empty()) wait_until_idle();
  if (open_encoder_) {
    call::memory_barrier(open_encoder_.get(), kBuffers);
  } else {
    const AutoreleasePool pool;
    open_buffer_ = Owned::keep(call::command_buffer(queue_.get()));
    if (open_buffer_) open_encoder_ = Owned::keep(call::compute_encoder(open_buffer_.get()));
    if (!open_encoder_) throw DeviceError("device 'metal': " + gpu_.product() + " gives no command buffer.");
    call::wait_for_fence(open_encoder_.get(), fence_.get());
    const std::lock_guard lock(mutex_);
    resident_changed_ = true;  // every encoder is to be told
  }
  declare_resident();
  return open_encoder_.get();
}

void MetalDriver::launch(gpu::KernelIndex kernel, gpu::Grid grid, std::span<const std::byte> args) {
  check_usable();
  const gpu::KernelInfo& info = gpu::kKernels[kernel];
  assert(args.size() == info.args_bytes);
  if (recording_ != nullptr) {
    std::vector<std::byte>& all = recording_->args;
    recording_->calls.emplace_back(RecordedLaunch{kernel, grid, all.size(), args.size()});
    all.insert(all.end(), args.begin(), args.end());
    return;
  }
  const AutoreleasePool pool;
  const Id pipeline = gpu_.pipeline(kernel);
  const Id to = encoder();
  call::set_pipeline(to, pipeline);
  call::set_bytes(to, args.data(), args.size(), 0);
  call::dispatch(to, {grid.x, grid.y, grid.z}, {info.threads, 1, 1});
  work_ += work_of(static_cast<gpu::KernelId>(kernel), grid);
  if (++n_launches_ == kMostLaunches || work_ >= kMostWork) commit(last_mark_ + 1);
}

void MetalDriver::commit(uint64_t mark) {
  if (!open_encoder_) return;
  const AutoreleasePool pool;
  call::update_fence(open_encoder_.get(), fence_.get());
  call::end_encoding(open_encoder_.get());
  call::commit(open_buffer_.get());
  running_.push_back({mark, std::move(open_buffer_)});
  open_buffer_ = Owned();
  open_encoder_ = Owned();
  n_launches_ = 0;
  work_ = 0;
}

void MetalDriver::drop_encoded() {
  if (!open_encoder_) return;
  call::end_encoding(open_encoder_.get());
  open_encoder_ = Owned();
  open_buffer_ = Owned();
  n_launches_ = 0;
  work_ = 0;
}

// ---- Copies, by the host
// ----------------------------------------------------------------------------------------------

void MetalDriver::upload(const gpu::HostMemory& from, size_t offset, gpu::Address to, size_t size_bytes) {
  check_usable();
  if (recording_ != nullptr) {
    recording_->calls.emplace_back(RecordedUpload{&from, offset, to, size_bytes});
    return;
  }
  wait_until_idle();
  std::memcpy(contents(to), from.data() + offset, size_bytes);
}

void MetalDriver::download(gpu::Address from, gpu::HostMemory& to, size_t offset, size_t size_bytes) {
  check_usable();
  if (recording_ != nullptr) {
    recording_->calls.emplace_back(RecordedDownload{from, &to, offset, size_bytes});
    return;
  }
  downloads_.push_back({contents(from), to.data() + offset, size_bytes});
}

void MetalDriver::copy(gpu::Address from, gpu::Address to, size_t size_bytes) {
  check_usable();
  if (recording_ != nullptr) {
    recording_->calls.emplace_back(RecordedCopy{from, to, size_bytes});
    return;
  }
  wait_until_idle();
  std::memcpy(contents(to), contents(from), size_bytes);
}

void MetalDriver::fill_zero(gpu::Address memory, size_t size_bytes) {
  check_usable();
  if (recording_ != nullptr) {
    recording_->calls.emplace_back(RecordedFill{memory, size_bytes});
    return;
  }
  wait_until_idle();
  std::memset(contents(memory), 0, size_bytes);
}

void MetalDriver::write(std::span<const std::byte> from, gpu::Address to) {
  check_usable();
  wait_until_idle();
  std::memcpy(contents(to), from.data(), from.size());
}

// ---- Recordings
// -------------------------------------------------------------------------------------------------------

void MetalDriver::begin_recording() {
  check_usable();
  recording_ = std::make_unique<RecordedPlan>();
}

std::unique_ptr<gpu::Plan> MetalDriver::end_recording(bool keep) {
  std::unique_ptr<RecordedPlan> recorded = std::move(recording_);
  if (!keep) return nullptr;
  return recorded;
}

void MetalDriver::replay(const gpu::Plan& plan) {
  const auto& recorded = static_cast<const RecordedPlan&>(plan);
  const std::span all(recorded.args);
  struct Visitor {
    MetalDriver& driver;
    std::span<const std::byte> args;
    void operator()(const RecordedLaunch& c) { driver.launch(c.kernel, c.grid, args.subspan(c.first_byte, c.n_bytes)); }
    void operator()(const RecordedUpload& c) { driver.upload(*c.from, c.offset, c.to, c.size_bytes); }
    void operator()(const RecordedDownload& c) { driver.download(c.from, *c.to, c.offset, c.size_bytes); }
    void operator()(const RecordedCopy& c) { driver.copy(c.from, c.to, c.size_bytes); }
    void operator()(const RecordedFill& c) { driver.fill_zero(c.memory, c.size_bytes); }
  };
  for (const Recorded& call : recorded.calls) std::visit(Visitor{*this, all}, call);
}

// ---- Waiting
// ----------------------------------------------------------------------------------------------------------

uint64_t MetalDriver::mark() {
  check_usable();
  commit(++last_mark_);
  return last_mark_;
}

void MetalDriver::check_ended(Id command_buffer) {
  if (call::status(command_buffer) != kFailed) return;
  const AutoreleasePool pool;
  const Id error = call::error(command_buffer);
  const std::string reason = gpu::one_line(description_of(error));
  // Other programs took it meanwhile. What comes next may well fit.
  if (error != nullptr && call::code(error) == kOutOfMemory)
    throw DeviceError("device 'metal': " + gpu_.product() + " ran out of memory: " + reason +
                      ". Close other models or programs, use a smaller file or batch, or " + to_give("device", "cpu") +
                      ".");
  failure_ = reason;
  check_usable();
}

void MetalDriver::finish_first() {
  const Running first = std::move(running_.front());
  running_.pop_front();
  check_ended(first.command_buffer.get());
}

void MetalDriver::finish_downloads() {
  for (const Download& download : downloads_) std::memcpy(download.to, download.from, download.size_bytes);
  downloads_.clear();
}

bool MetalDriver::has_passed(uint64_t mark) {
  if (mark <= last_passed_) return true;
  check_usable();
  const AutoreleasePool pool;
  while (!running_.empty() && running_.front().mark <= mark) {
    if (call::status(running_.front().command_buffer.get()) < kCompleted) return false;
    finish_first();
  }
  last_passed_ = mark;
  if (running_.empty() && !open_encoder_) {
    finish_downloads();
    release_freed();
  }
  return true;
}

void MetalDriver::wait_until_idle() {
  if (running_.empty() && !open_encoder_ && downloads_.empty()) return;
  const AutoreleasePool pool;
  commit(last_mark_ + 1);
  if (!running_.empty()) call::wait_until_completed(running_.back().command_buffer.get());
  while (!running_.empty()) finish_first();
  finish_downloads();
  release_freed();
}

void MetalDriver::settle() noexcept {
  if (forks_ != fork_count()) return;
  const AutoreleasePool pool;
  recording_.reset();
  drop_encoded();
  downloads_.clear();
  if (!running_.empty()) call::wait_until_completed(running_.back().command_buffer.get());
  for (const Running& run : running_) {
    try {
      if (failure_.empty()) check_ended(run.command_buffer.get());
    } catch (const DeviceError&) {
      // Told by whoever uses the device next, if it is lost.
    }
  }
  running_.clear();
  release_freed();
}

}  // namespace t5g::metal
