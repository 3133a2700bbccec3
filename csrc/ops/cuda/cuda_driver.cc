// Each call is one of the driver's, in the context of the device.
#include "ops/cuda/cuda_driver.h"

#include <cassert>

#include "base/error.h"
#include "ops/gpu/messages.h"

namespace t5g::cuda {
namespace {

using Current = SharedContext::Current;

class PinnedMemory final : public gpu::HostMemory {
 public:
  PinnedMemory(std::shared_ptr<SharedContext> context, void* data, size_t size_bytes)
      : HostMemory(static_cast<std::byte*>(data), size_bytes), context_(std::move(context)) {}
  ~PinnedMemory() override {
    const Current current(*context_, std::nothrow);
    if (current.active()) context_->driver().cuMemFreeHost(data());
  }

 private:
  const std::shared_ptr<SharedContext> context_;
};

class GraphPlan final : public gpu::Plan {
 public:
  GraphPlan(std::shared_ptr<SharedContext> context, GraphExec exec) : context_(std::move(context)), exec_(exec) {}
  ~GraphPlan() override {
    const Current current(*context_, std::nothrow);
    if (current.active()) context_->driver().cuGraphExecDestroy(exec_);
  }
  GraphExec exec() const { return exec_; }

 private:
  const std::shared_ptr<SharedContext> context_;
  const GraphExec exec_;
};

}  // namespace

CudaDriver::CudaDriver(int index) : context_(SharedContext::of(index)) {
  const Current current(*context_);
  context_->check(driver().cuStreamCreate(&stream_, kNonBlocking), "to make a stream");
}

CudaDriver::~CudaDriver() {
  const Current current(*context_, std::nothrow);
  if (!current.active()) return;
  driver().cuStreamSynchronize(stream_);
  for (const auto& [mark, event] : marks_) driver().cuEventDestroy_v2(event);
  for (Event event : spare_events_) driver().cuEventDestroy_v2(event);
  driver().cuStreamDestroy_v2(stream_);
}

// ---- Memory
// -----------------------------------------------------------------------------------------------------------

size_t CudaDriver::free_bytes() {
  const Current current(*context_);
  size_t free = 0, total = 0;
  context_->check(driver().cuMemGetInfo_v2(&free, &total), "to say how much memory is free");
  return free;
}

void CudaDriver::out_of_memory(size_t needed_bytes, const char* where) {
  size_t free = 0, total = 0;
  driver().cuMemGetInfo_v2(&free, &total);
  throw gpu::out_of_memory(name(), needed_bytes, where,
                           {.free_bytes = free, .total_bytes = context_->facts().total_bytes});
}

gpu::Address CudaDriver::allocate(size_t size_bytes) {
  assert(size_bytes > 0);
  const Current current(*context_);
  Address memory = 0;
  const Result result = driver().cuMemAlloc_v2(&memory, size_bytes);
  if (result == kOutOfMemory) out_of_memory(size_bytes, "of the device's memory");
  context_->check(result, "to allocate memory");
  return memory;
}

void CudaDriver::free(gpu::Address memory) noexcept {
  const Current current(*context_, std::nothrow);
  if (current.active()) context_->note(driver().cuMemFree_v2(memory));  // waits for what uses it
}

std::unique_ptr<gpu::HostMemory> CudaDriver::allocate_host(size_t size_bytes) {
  const Current current(*context_);
  void* memory = nullptr;
  const Result result = driver().cuMemHostAlloc(&memory, size_bytes, kHostPortable);
  if (result == kOutOfMemory) out_of_memory(size_bytes, "of the host's memory, locked for the device");
  context_->check(result, "to lock memory of the host");
  return std::make_unique<PinnedMemory>(context_, memory, size_bytes);
}

// ---- Enqueued
// ---------------------------------------------------------------------------------------------------------

void CudaDriver::launch(gpu::KernelIndex kernel, gpu::Grid grid, std::span<const std::byte> args) {
  const gpu::KernelInfo& info = gpu::kKernels[kernel];
  assert(args.size() == info.args_bytes);
  const Current current(*context_);
  void* parameters[] = {const_cast<std::byte*>(args.data())};  // copied by the call
  const Result result = driver().cuLaunchKernel(context_->function(kernel), grid.x, grid.y, grid.z, info.threads, 1, 1,
                                                0, stream_, parameters, nullptr);
  if (result != kSuccess) context_->check(result, "to launch kernel '" + std::string(info.name) + "'");
}

void CudaDriver::upload(const gpu::HostMemory& from, size_t offset, gpu::Address to, size_t size_bytes) {
  const Current current(*context_);
  context_->check(driver().cuMemcpyHtoDAsync_v2(to, from.data() + offset, size_bytes, stream_),
                  "to copy to the device");
}

void CudaDriver::download(gpu::Address from, gpu::HostMemory& to, size_t offset, size_t size_bytes) {
  const Current current(*context_);
  context_->check(driver().cuMemcpyDtoHAsync_v2(to.data() + offset, from, size_bytes, stream_),
                  "to copy from the device");
}

void CudaDriver::copy(gpu::Address from, gpu::Address to, size_t size_bytes) {
  const Current current(*context_);
  context_->check(driver().cuMemcpyDtoDAsync_v2(to, from, size_bytes, stream_), "to copy on the device");
}

void CudaDriver::fill_zero(gpu::Address memory, size_t size_bytes) {
  const Current current(*context_);
  context_->check(driver().cuMemsetD8Async(memory, 0, size_bytes, stream_), "to clear memory");
}

void CudaDriver::write(std::span<const std::byte> from, gpu::Address to) {
  const Current current(*context_);
  context_->check(driver().cuMemcpyHtoDAsync_v2(to, from.data(), from.size(), stream_), "to copy to the device");
  // Ordinary memory has been read when that returns, but a caller's may be locked, or the device's own to read.
  context_->check(driver().cuStreamSynchronize(stream_), "to copy to the device");
}

// ---- Recordings
// -------------------------------------------------------------------------------------------------------

void CudaDriver::begin_recording() {
  const Current current(*context_);
  context_->check(driver().cuStreamBeginCapture_v2(stream_, kCaptureThreadLocal), "to begin a graph");
}

std::unique_ptr<gpu::Plan> CudaDriver::end_recording(bool keep) {
  Graph graph = nullptr;
  GraphExec exec = nullptr;
  if (!keep) {
    const Current current(*context_, std::nothrow);
    if (current.active() && driver().cuStreamEndCapture(stream_, &graph) == kSuccess && graph != nullptr)
      driver().cuGraphDestroy(graph);
    return nullptr;
  }
  const Current current(*context_);
  context_->check(driver().cuStreamEndCapture(stream_, &graph), "to end a graph");
  const Result result = driver().cuGraphInstantiateWithFlags(&exec, graph, 0);
  driver().cuGraphDestroy(graph);
  context_->check(result, "to make a graph ready");
  return std::make_unique<GraphPlan>(context_, exec);
}

void CudaDriver::replay(const gpu::Plan& plan) {
  const Current current(*context_);
  context_->check(driver().cuGraphLaunch(static_cast<const GraphPlan&>(plan).exec(), stream_), "to launch a graph");
}

// ---- Waiting
// ----------------------------------------------------------------------------------------------------------

uint64_t CudaDriver::mark() {
  const Current current(*context_);
  Event event = nullptr;
  if (spare_events_.empty()) {
    context_->check(driver().cuEventCreate(&event, kDisableTiming), "to make an event");
  } else {
    event = spare_events_.back();
    spare_events_.pop_back();
  }
  marks_.emplace_back(++last_mark_, event);
  context_->check(driver().cuEventRecord(event, stream_), "to mark a place of the stream");
  return last_mark_;
}

bool CudaDriver::has_passed(uint64_t mark) {
  if (mark <= last_passed_) return true;
  const Current current(*context_);
  while (!marks_.empty() && last_passed_ < mark) {
    const auto [number, event] = marks_.front();
    const Result result = driver().cuEventQuery(event);
    if (result == kNotReady) return false;
    context_->check(result, "at what it was computing");
    last_passed_ = number;
    spare_events_.push_back(event);
    marks_.pop_front();
  }
  return true;
}

void CudaDriver::settle() noexcept {
  const Current current(*context_, std::nothrow);
  if (current.active()) context_->note(driver().cuStreamSynchronize(stream_));
}

}  // namespace t5g::cuda
