// libcuda.so.1 for tests: the driver's functions that t5g calls, on the emulation of its kernels. What is enqueued runs
// as late as it may: when an event is asked for the second time, or somebody waits. T5G_FAKE_CUDA says what goes wrong:
//
//   devices=N memory=BYTES capability=90 version=13000    what there is
//   old_devices=N                                         the first N GPUs are of Pascal's time
//   init=RESULT context=RESULT                            what starting, or opening a context, ends with
//   images=N                                              the first N images that are offered are refused
//   functions=N                                           the first N functions that are asked for are refused
//   launch=N launch_result=RESULT                         what the N-th launch (from 1) returns
//   graphs=N                                              the first N graphs cannot be made ready: no memory
//   lost=N lost_result=RESULT                             the N-th launch that runs takes its context with it
//   lying_probe=1                                         fragments lie elsewhere than the kernels believe
//
// Besides, it checks what a real driver leaves unchecked, and says so in the file that T5G_FAKE_LOG names.
#include <unistd.h>

#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "closed_memory.h"
#include "ops/cuda/api.h"
#include "plan_of_faults.h"

#define T5G_CUDA_FUNCTION(name, parameters) \
  extern "C" __attribute__((visibility("default"))) t5g::cuda::Result name parameters;
namespace t5g::cuda {
#include "ops/cuda/api.inc"
}
#undef T5G_CUDA_FUNCTION

namespace t5g::cuda {

using Task = std::function<void()>;
constexpr Result kInvalidValue{1}, kInvalidImage{200}, kInvalidContext{201}, kNotFound{500}, kCaptureUnsupported{900},
    kNoBinary{209}, kInvalidDevice{101};

struct ContextObject {
  int device;
  fakes::ClosedMemory memory{};
  std::map<const void*, size_t> host_memory{};
  int n_streams = 0, n_events = 0, n_graphs = 0;
  Result lost = kSuccess;
};
struct ModuleObject {};
struct FunctionObject {
  size_t kernel;
};
struct GraphObject {
  std::vector<Task> tasks;
};
struct GraphExecObject {
  std::vector<Task> tasks;
};
struct StreamObject {
  Context context;
  std::deque<Task> tasks{};
  uint64_t n_enqueued = 0, n_run = 0;
  std::unique_ptr<GraphObject> captured{};
};
struct EventObject {
  Stream stream = nullptr;
  uint64_t after = 0;
  bool asked = false;
};

namespace {

const fakes::PlanOfFaults& plan() {
  static const fakes::PlanOfFaults faults("T5G_FAKE_CUDA");
  return faults;
}

std::recursive_mutex mutex;
pid_t started_in = 0;
int64_t n_images = 0, n_launches = 0, n_run = 0;
std::set<Stream> streams;
thread_local std::vector<Context> current;
thread_local int capturing = 0;

// What every call begins with.
struct Call {
  const std::lock_guard<std::recursive_mutex> lock{mutex};
  Call() {
    if (started_in != 0 && started_in != ::getpid()) {
      plan().log("called in a forked child");
      std::abort();
    }
  }
};
Context context() { return current.empty() ? nullptr : current.back(); }

#define T5G_IN_CONTEXT()                            \
  const Call call;                                  \
  if (context() == nullptr) return kInvalidContext; \
  if (context()->lost != kSuccess) return context()->lost
#define T5G_NOT_CAPTURED()                                   \
  if (capturing > 0) {                                       \
    plan().log(std::string(__func__) + " during a capture"); \
    return kCaptureUnsupported;                              \
  }

void run_kernel(Context in, size_t kernel, emulator::Grid grid, const std::byte* args) {
  if (++n_run == plan().get("lost", 0)) in->lost = static_cast<Result>(plan().get("lost_result", kIllegalAddress));
  if (in->lost != kSuccess) return;
  const emulator::Kernel& emulated = gpu::emulated(static_cast<gpu::KernelId>(kernel));
  try {
    emulator::launch(emulated, grid, args);
  } catch (const emulator::KernelError& error) {
    plan().log(std::string(emulated.name) + ": " + error.what());
    in->lost = kLaunchFailed;
  }
  if (plan().get("lying_probe", 0) != 0 && std::strcmp(emulated.name, "probe") == 0)
    std::memset(reinterpret_cast<void*>(reinterpret_cast<const gpu::ProbeArgs*>(args)->out), 0xFF, 512);
}

Result run_until(Stream stream, uint64_t last) {
  Context in = stream->context;
  in->memory.protect_all(PROT_READ | PROT_WRITE);
  while (stream->n_run < last && in->lost == kSuccess) {
    stream->tasks.front()();
    stream->tasks.pop_front();
    ++stream->n_run;
  }
  in->memory.protect_all(PROT_NONE);
  return in->lost;
}

Result enqueue(Stream stream, Task task) {
  if (stream->captured != nullptr) {
    stream->captured->tasks.push_back(std::move(task));
  } else {
    stream->tasks.push_back(std::move(task));
    ++stream->n_enqueued;
  }
  return kSuccess;
}

// A copy whose end on the host is locked waits for its turn; from other memory the driver reads at once.
bool is_locked(const void* memory) {
  const auto& all = context()->host_memory;
  const auto after = all.upper_bound(memory);
  if (after == all.begin()) return false;
  const auto& [begin, size_bytes] = *std::prev(after);
  return static_cast<const std::byte*>(memory) < static_cast<const std::byte*>(begin) + size_bytes;
}

}  // namespace

// ---- The driver
// ---------------------------------------------------------------------------------------------------------

Result cuInit(unsigned) {
  const auto result = static_cast<Result>(plan().get("init", plan().get("devices", 1) == 0 ? kNoDevice : kSuccess));
  if (result == kSuccess) started_in = ::getpid();
  return result;
}
Result cuDriverGetVersion(int* version) {
  *version = static_cast<int>(plan().get("version", 13000));
  return kSuccess;
}
Result cuGetErrorName(Result result, const char** name) {
  static const std::map<int, const char*> names = {{2, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                   {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
                                                   {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                                                   {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                                                   {719, "CUDA_ERROR_LAUNCH_FAILED"}};
  const auto found = names.find(result);
  *name = found == names.end() ? "CUDA_ERROR_OF_THE_FAKE" : found->second;
  return kSuccess;
}
Result cuGetErrorString(Result result, const char** text) {
  *text = result == kOutOfMemory ? "out of memory" : result == kIllegalAddress ? "an illegal memory access" : "a fault";
  return kSuccess;
}

Result cuDeviceGetCount(int* n) {
  *n = static_cast<int>(plan().get("devices", 1));
  return kSuccess;
}
Result cuDeviceGet(DeviceId* device, int index) {
  *device = index;
  return index < plan().get("devices", 1) ? kSuccess : kInvalidDevice;
}
Result cuDeviceGetName(char* name, int size, DeviceId device) {
  std::snprintf(name, static_cast<size_t>(size), "Fake GPU %d", device);
  return kSuccess;
}
Result cuDeviceTotalMem_v2(size_t* bytes, DeviceId) {
  *bytes = static_cast<size_t>(plan().get("memory", int64_t{1} << 32));
  return kSuccess;
}
Result cuDeviceGetAttribute(int* value, int attribute, DeviceId device) {
  const bool is_old = device < plan().get("old_devices", 0);
  const auto capability = is_old ? 61 : static_cast<int>(plan().get("capability", 90));
  // As many processors as an H100 has, so that blocks and grids are those of a large device.
  *value = attribute == kCapabilityMajor ? capability / 10 : attribute == kCapabilityMinor ? capability % 10 : 132;
  return kSuccess;
}

Result cuCtxCreate_v2(Context* made, unsigned, DeviceId device) {
  const Call call;
  if (const auto result = static_cast<Result>(plan().get("context", kSuccess)); result != kSuccess) return result;
  *made = new ContextObject{device};
  current.push_back(*made);
  return kSuccess;
}
Result cuCtxDestroy_v2(Context gone) {
  const Call call;
  const int left = gone->n_streams + gone->n_events + gone->n_graphs;
  if (gone->lost == kSuccess && (gone->memory.n_blocks() + gone->host_memory.size() > 0 || left > 0))
    plan().log("a context is destroyed with " + std::to_string(gone->memory.n_blocks()) + " blocks, " +
               std::to_string(gone->host_memory.size()) + " locked, " + std::to_string(gone->n_streams) + " streams, " +
               std::to_string(gone->n_events) + " events, " + std::to_string(gone->n_graphs) + " graphs");
  std::erase(current, gone);
  delete gone;
  return kSuccess;
}
Result cuCtxPushCurrent_v2(Context pushed) {
  current.push_back(pushed);
  return kSuccess;
}
Result cuCtxPopCurrent_v2(Context* popped) {
  *popped = context();
  current.pop_back();
  return kSuccess;
}

Result cuModuleLoadDataEx(Module* module, const void*, unsigned, int*, void**) {
  T5G_IN_CONTEXT();
  static ModuleObject only;
  *module = &only;
  return ++n_images <= plan().get("images", 0) ? kNoBinary : kSuccess;
}
Result cuModuleGetFunction(Function* function, Module, const char* name) {
  T5G_IN_CONTEXT();
  static FunctionObject functions[gpu::kNumKernels];
  static int64_t n_asked = 0;
  if (++n_asked <= plan().get("functions", 0)) return kNoBinary;
  const int index = fakes::kernel_index(name);
  if (index < 0) return kNotFound;
  functions[index].kernel = static_cast<size_t>(index);
  *function = &functions[index];
  return kSuccess;
}

// ---- Memory
// -------------------------------------------------------------------------------------------------------------

Result cuMemGetInfo_v2(size_t* free, size_t* total) {
  T5G_IN_CONTEXT();
  cuDeviceTotalMem_v2(total, 0);
  *free = *total - context()->memory.taken();
  return kSuccess;
}
Result cuMemAlloc_v2(Address* memory, size_t bytes) {
  T5G_IN_CONTEXT();
  T5G_NOT_CAPTURED();
  size_t free = 0, total = 0;
  cuMemGetInfo_v2(&free, &total);
  if (bytes == 0) return kInvalidValue;
  void* taken = bytes > free ? nullptr : context()->memory.take(bytes);
  *memory = reinterpret_cast<Address>(taken);
  return taken == nullptr ? kOutOfMemory : kSuccess;
}
Result cuMemFree_v2(Address memory) {
  T5G_IN_CONTEXT();
  T5G_NOT_CAPTURED();
  for (Stream stream : streams)
    if (stream->context == context()) run_until(stream, stream->n_enqueued);
  return context()->memory.give_back(reinterpret_cast<void*>(memory)) ? kSuccess : kInvalidValue;
}
Result cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
  T5G_IN_CONTEXT();
  T5G_NOT_CAPTURED();
  *memory = std::malloc(bytes);
  context()->host_memory[*memory] = bytes;
  return kSuccess;
}
Result cuMemFreeHost(void* memory) {
  const Call call;
  if (context() == nullptr || context()->host_memory.erase(memory) == 0) return kInvalidValue;
  for (Stream stream : streams)
    if (stream->context == context()) run_until(stream, stream->n_enqueued);
  std::free(memory);
  return context()->lost;
}
Result cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, Stream stream) {
  T5G_IN_CONTEXT();
  if (is_locked(from) || stream->captured != nullptr)
    return enqueue(stream, [=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
  const auto* first = static_cast<const std::byte*>(from);
  return enqueue(stream, [to, copy = std::vector<std::byte>(first, first + bytes)] {
    std::memcpy(reinterpret_cast<void*>(to), copy.data(), copy.size());
  });
}
Result cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, Stream stream) {
  T5G_IN_CONTEXT();
  return enqueue(stream, [=] { std::memcpy(to, reinterpret_cast<const void*>(from), bytes); });
}
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, Stream stream) {
  T5G_IN_CONTEXT();
  return enqueue(stream, [=] { std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes); });
}
Result cuMemsetD8Async(Address memory, unsigned char value, size_t bytes, Stream stream) {
  T5G_IN_CONTEXT();
  return enqueue(stream, [=] { std::memset(reinterpret_cast<void*>(memory), value, bytes); });
}

// ---- Streams
// ------------------------------------------------------------------------------------------------------------

Result cuStreamCreate(Stream* stream, unsigned) {
  T5G_IN_CONTEXT();
  *stream = new StreamObject{context()};
  streams.insert(*stream);
  ++context()->n_streams;
  return kSuccess;
}
Result cuStreamDestroy_v2(Stream stream) {
  const Call call;
  --stream->context->n_streams;
  streams.erase(stream);
  delete stream;
  return kSuccess;
}
Result cuStreamSynchronize(Stream stream) {
  T5G_IN_CONTEXT();
  T5G_NOT_CAPTURED();
  return run_until(stream, stream->n_enqueued);
}
Result cuEventCreate(Event* event, unsigned) {
  T5G_IN_CONTEXT();
  *event = new EventObject;
  ++context()->n_events;
  return kSuccess;
}
Result cuEventDestroy_v2(Event event) {
  const Call call;
  if (context() == nullptr) return kInvalidContext;
  --context()->n_events;
  delete event;
  return kSuccess;
}
Result cuEventRecord(Event event, Stream stream) {
  T5G_IN_CONTEXT();
  T5G_NOT_CAPTURED();
  *event = {.stream = stream, .after = stream->n_enqueued};
  return kSuccess;
}
Result cuEventQuery(Event event) {
  T5G_IN_CONTEXT();
  T5G_NOT_CAPTURED();
  if (!event->asked && event->stream->n_run < event->after) {
    event->asked = true;
    return kNotReady;
  }
  return run_until(event->stream, event->after);
}

Result cuLaunchKernel(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned threads_x,
                      unsigned threads_y, unsigned threads_z, unsigned shared_bytes, Stream stream, void** parameters,
                      void**) {
  T5G_IN_CONTEXT();
  const gpu::KernelInfo& info = gpu::kKernels[function->kernel];
  if (++n_launches == plan().get("launch", 0)) return static_cast<Result>(plan().get("launch_result", kOutOfMemory));
  if (threads_x != info.threads || threads_y * threads_z != 1 || shared_bytes != 0 || grid_x == 0 || grid_y == 0 ||
      grid_z == 0 || grid_y > 65535 || grid_z > 65535 || grid_x > 2147483647u) {
    plan().log("a launch of '" + std::string(info.name) + "' that no device takes");
    return kInvalidValue;
  }
  const auto* first = static_cast<const std::byte*>(parameters[0]);
  return enqueue(stream, [in = context(), kernel = function->kernel, grid_x, grid_y, grid_z,
                          args = std::vector<std::byte>(first, first + info.args_bytes)] {
    run_kernel(in, kernel, {grid_x, grid_y, grid_z}, args.data());
  });
}

// ---- Graphs
// -------------------------------------------------------------------------------------------------------------

Result cuStreamBeginCapture_v2(Stream stream, int) {
  T5G_IN_CONTEXT();
  if (stream->captured != nullptr) return kCaptureUnsupported;
  stream->captured = std::make_unique<GraphObject>();
  ++capturing;
  return kSuccess;
}
Result cuStreamEndCapture(Stream stream, Graph* graph) {
  const Call call;
  if (stream->captured == nullptr) return kInvalidValue;
  --capturing;
  *graph = stream->captured.release();
  return kSuccess;
}
Result cuGraphInstantiateWithFlags(GraphExec* exec, Graph graph, unsigned long long) {
  T5G_IN_CONTEXT();
  static int64_t n_asked = 0;
  if (++n_asked <= plan().get("graphs", 0)) return kOutOfMemory;
  *exec = new GraphExecObject{graph->tasks};
  ++context()->n_graphs;
  return kSuccess;
}
Result cuGraphDestroy(Graph graph) {
  delete graph;
  return kSuccess;
}
Result cuGraphExecDestroy(GraphExec exec) {
  const Call call;
  if (context() == nullptr) return kInvalidContext;
  --context()->n_graphs;
  delete exec;
  return kSuccess;
}
Result cuGraphLaunch(GraphExec exec, Stream stream) {
  T5G_IN_CONTEXT();
  for (const Task& task : exec->tasks) enqueue(stream, task);
  return kSuccess;
}

}  // namespace t5g::cuda
