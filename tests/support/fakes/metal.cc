// The Objective-C runtime and Metal for tests: the methods of ops/metal/methods.inc, on the emulation of t5g's kernels.
// What is committed runs when its status is asked for the second time, or somebody waits. T5G_FAKE_METAL says what goes
// wrong:
//
//   devices=0 family=0        no GPU, or an old one
//   default=0                 no default device, but one in the list of all
//   system=13                 an old macOS
//   memory=BYTES              what Metal recommends to stay below
//   largest=BYTES             of a buffer; else half of that
//   compile=0                 the text does not compile
//   command=N                 the N-th command buffer (from 1) ends with an error: command_code=CODE
//   lying_probe=1             fragments lie elsewhere than the kernels believe
//   math_modes=0              macOS 14, without what macOS 15 has
//   open=1                    memory stays open: for hosts of several threads
//
// Besides, it checks what Metal leaves unchecked, and says so in the file that T5G_FAKE_LOG names: memory that was not
// declared resident (closed, so its use crashes), launches without a barrier between them, command buffers without a
// fence, the host's use of objects that are gone.
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "closed_memory.h"
#include "ops/metal/objc.h"
#include "plan_of_faults.h"

#define T5G_EXPORT extern "C" __attribute__((visibility("default")))

namespace t5g::metal {

// A selector begins with its implementation, to which objc_msgSend jumps with all its arguments in their places.
struct SelectorObject {
  void (*implementation)();
  const char* name;
};

struct Object {
  virtual ~Object() = default;
  int references = 1;
  std::string text;  // of strings and errors
  Integer code = 0;  // of errors
};

namespace {

const fakes::PlanOfFaults& plan() {
  static const fakes::PlanOfFaults faults("T5G_FAKE_METAL");
  return faults;
}

std::recursive_mutex mutex;
fakes::ClosedMemory memory;
int64_t n_command_buffers = 0;

struct Buffer final : Object {
  void* data = nullptr;
  size_t size_bytes = 0;
  ~Buffer() override { memory.give_back(data); }
};
struct Function final : Object {
  size_t kernel = 0;
};
struct Launch {
  size_t kernel;
  emulator::Grid grid;
  std::vector<std::byte> args;
};
struct CommandBuffer final : Object {
  std::vector<Launch> launches;
  std::set<void*> resident;
  UInteger status = 0;
  bool asked = false;
  Object* error = nullptr;
};
struct Encoder final : Object {
  CommandBuffer* buffer = nullptr;
  Function* pipeline = nullptr;
  std::vector<std::byte> args;
  bool needs_barrier = false, waited = false;
};

// What is to be released when the outermost pool ends, of each thread.
thread_local std::vector<Object*> autoreleased;
std::deque<CommandBuffer*> committed;

Id autorelease(Object* object) {
  autoreleased.push_back(object);
  return object;
}
Object* text_object(const std::string& text) {
  auto* object = new Object;
  object->text = text;
  return object;
}

void run(CommandBuffer& buffer) {
  if (plan().get("open", 0) == 0) memory.protect_all(PROT_NONE);
  for (void* block : buffer.resident) memory.open(block);
  for (const Launch& launch : buffer.launches) {
    const emulator::Kernel& kernel = gpu::emulated(static_cast<gpu::KernelId>(launch.kernel));
    try {
      // A GPU promises no order: here groups come backwards, in CUDA's fake forwards.
      emulator::launch(kernel, launch.grid, launch.args.data(), {.order = emulator::Order::kBackward});
    } catch (const emulator::KernelError& error) {
      plan().log(std::string(kernel.name) + ": " + error.what());
      buffer.error = text_object(error.what());
    }
    if (plan().get("lying_probe", 0) != 0 && std::strcmp(kernel.name, "probe") == 0)
      std::memset(reinterpret_cast<void*>(reinterpret_cast<const gpu::ProbeArgs*>(launch.args.data())->out), 0xFF, 512);
  }
  memory.protect_all(PROT_READ | PROT_WRITE);  // the host shares it
  if (++n_command_buffers == plan().get("command", 0)) {
    const auto code = static_cast<Integer>(plan().get("command_code", 3));
    buffer.error =
        text_object(code == kOutOfMemory ? "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
                                         : "Caused GPU Hang Error (00000003:kIOGPUCommandBufferCallbackErrorHang)");
    buffer.error->code = code;
  }
  buffer.status = buffer.error == nullptr ? kCompleted : kFailed;
}
// Everything up to this one, in order.
void run_until(CommandBuffer& last) {
  while (last.status < kCompleted) {
    CommandBuffer* next = committed.front();
    committed.pop_front();
    run(*next);
    next->references--;
  }
}

template <typename T>
T& as(Id object) {
  return *static_cast<T*>(object);
}

// ---- The methods, by the names of methods.inc
// ------------------------------------------------------------------------

namespace methods {

using Lock = std::lock_guard<std::recursive_mutex>;

Id retain(Id self, Selector) {
  const Lock lock(mutex);
  ++self->references;
  return self;
}
void release(Id self, Selector) {
  const Lock lock(mutex);
  if (--self->references == 0) delete self;
}
bool responds_to_selector(Id, Selector, Selector asked) {
  const std::string name = asked->name;
  return plan().get("math_modes", 1) != 0 || !name.starts_with("setMath");
}
Id new_object(Id, Selector) { return new Object; }
Id string_with_utf8(Id, Selector, const char* text) { return autorelease(text_object(text)); }
const char* utf8(Id self, Selector) { return self->text.c_str(); }
Id localized_description(Id self, Selector) { return self; }
Integer code(Id self, Selector) { return self->code; }
Id first_object(Id, Selector) {
  if (plan().get("devices", 1) == 0) return nullptr;
  return autorelease(new Object);
}
Id process_info(Id, Selector) { return autorelease(new Object); }
bool is_at_least(Id, Selector, SystemVersion version) { return plan().get("system", 15) >= version.major; }

Id name(Id, Selector) { return autorelease(text_object("Fake M1")); }
bool supports_family(Id, Selector, Integer) { return plan().get("family", 1) != 0; }
uint64_t recommended_bytes(Id, Selector) { return static_cast<uint64_t>(plan().get("memory", int64_t{1} << 32)); }
UInteger allocated_bytes(Id, Selector) {
  const Lock lock(mutex);
  return memory.taken();
}
UInteger max_buffer_bytes(Id self, Selector) {
  return static_cast<UInteger>(plan().get("largest", static_cast<int64_t>(recommended_bytes(self, nullptr) / 2)));
}
Id new_queue(Id, Selector) { return new Object; }
Id new_fence(Id, Selector) { return new Object; }
Id new_buffer(Id, Selector, UInteger bytes, UInteger options) {
  const Lock lock(mutex);
  if (options != kSharedUntracked) plan().log("a buffer of other options");
  auto buffer = std::make_unique<Buffer>();
  buffer->data = memory.take(bytes);
  buffer->size_bytes = bytes;
  if (buffer->data == nullptr) return nullptr;
  memory.open(buffer->data);
  return buffer.release();
}
Id new_library(Id, Selector, Id text, Id, Id* error) {
  if (plan().get("compile", 1) != 0 && text->text.find("probe") != std::string::npos) return new Object;
  *error = autorelease(text_object("program_source:12:3: error: unknown type name 'bfloat'\n  bfloat x;"));
  return nullptr;
}
Id new_pipeline(Id, Selector, Id function, Id*) {
  auto* pipeline = new Function;
  pipeline->kernel = as<Function>(function).kernel;
  return pipeline;
}
void set_language_version(Id, Selector, UInteger version) {
  if (version != kLanguage3_1) plan().log("another version of the language");
}
void set_fast_math(Id, Selector, bool yes) {
  if (yes) plan().log("fast math");
}
void set_math_mode(Id, Selector, Integer mode) {
  if (mode != kMathSafe) plan().log("fast math");
}
void set_math_functions(Id, Selector, Integer functions) {
  if (functions != kMathPrecise) plan().log("inexact functions");
}
Id new_function(Id, Selector, Id function_name) {
  const int kernel = fakes::kernel_index(function_name->text.c_str());
  if (kernel < 0) return nullptr;
  auto* function = new Function;
  function->kernel = static_cast<size_t>(kernel);
  return function;
}
UInteger max_threads(Id, Selector) { return 1024; }
UInteger execution_width(Id, Selector) { return 32; }
void* contents(Id self, Selector) { return as<Buffer>(self).data; }
uint64_t gpu_address(Id self, Selector) { return reinterpret_cast<uint64_t>(as<Buffer>(self).data); }

Id command_buffer(Id, Selector) { return autorelease(new CommandBuffer); }
Id compute_encoder(Id self, Selector) {
  auto* encoder = new Encoder;
  encoder->buffer = &as<CommandBuffer>(self);
  return autorelease(encoder);
}
void commit(Id self, Selector) {
  const Lock lock(mutex);
  auto& buffer = as<CommandBuffer>(self);
  buffer.status = 2;
  ++buffer.references;
  committed.push_back(&buffer);
}
void wait_until_completed(Id self, Selector) {
  const Lock lock(mutex);
  run_until(as<CommandBuffer>(self));
}
UInteger status(Id self, Selector) {
  const Lock lock(mutex);
  auto& buffer = as<CommandBuffer>(self);
  if (buffer.status == 2 && buffer.asked) run_until(buffer);
  buffer.asked = true;
  return buffer.status;
}
Id error(Id self, Selector) { return as<CommandBuffer>(self).error; }

void wait_for_fence(Id self, Selector, Id) { as<Encoder>(self).waited = true; }
void update_fence(Id, Selector, Id) {}
void use_resources(Id self, Selector, const Id* resources, UInteger n, UInteger usage) {
  const Lock lock(mutex);
  if (usage != kReadAndWrite) plan().log("resources that are not written");
  for (UInteger i = 0; i < n; ++i) as<Encoder>(self).buffer->resident.insert(as<Buffer>(resources[i]).data);
}
void set_pipeline(Id self, Selector, Id pipeline) { as<Encoder>(self).pipeline = &as<Function>(pipeline); }
void set_bytes(Id self, Selector, const void* bytes, UInteger length, UInteger index) {
  if (index != 0) plan().log("arguments in another place");
  const auto* first = static_cast<const std::byte*>(bytes);
  as<Encoder>(self).args.assign(first, first + length);
}
void dispatch(Id self, Selector, Size groups, Size threads) {
  auto& encoder = as<Encoder>(self);
  const gpu::KernelInfo& info = gpu::kKernels[encoder.pipeline->kernel];
  const std::string what = "a launch of '" + std::string(info.name) + "' ";
  if (encoder.needs_barrier) plan().log(what + "without a barrier after the one before");
  if (threads.width != info.threads || threads.height * threads.depth != 1) plan().log(what + "with other threads");
  if (encoder.args.size() != info.args_bytes) plan().log(what + "with arguments of another size");
  if (groups.width * groups.height * groups.depth == 0) plan().log(what + "of nothing");
  encoder.needs_barrier = true;
  const emulator::Grid grid{static_cast<uint32_t>(groups.width), static_cast<uint32_t>(groups.height),
                            static_cast<uint32_t>(groups.depth)};
  encoder.buffer->launches.push_back({encoder.pipeline->kernel, grid, encoder.args});
}
void memory_barrier(Id self, Selector, UInteger scope) {
  if (scope != kBuffers) plan().log("a barrier for something else");
  as<Encoder>(self).needs_barrier = false;
}
void end_encoding(Id self, Selector) {
  const Lock lock(mutex);
  const auto& encoder = as<Encoder>(self);
  if (!encoder.waited) plan().log("an encoder that waits for no fence");
}

}  // namespace methods

SelectorObject selectors[] = {
#define T5G_METAL_METHOD(Result, name, selector, parameters, arguments) \
  {reinterpret_cast<void (*)()>(&methods::name), selector},
#include "ops/metal/methods.inc"
#undef T5G_METAL_METHOD
};

}  // namespace

// ---- What is exported
// ------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
asm(".pushsection .text\n.globl objc_msgSend\n.type objc_msgSend,@function\nobjc_msgSend:\n"
    "  test %rdi, %rdi\n  jz 1f\n  jmp *(%rsi)\n1: xor %eax, %eax\n  ret\n.size "
    "objc_msgSend,.-objc_msgSend\n.popsection");
#elif defined(__aarch64__)
asm(".pushsection .text\n.globl objc_msgSend\n.type objc_msgSend,%function\nobjc_msgSend:\n"
    "  cbz x0, 1f\n  ldr x16, [x1]\n  br x16\n1: ret\n.size objc_msgSend,.-objc_msgSend\n.popsection");
#endif

T5G_EXPORT Selector sel_registerName(const char* name) {
  for (SelectorObject& selector : selectors)
    if (std::strcmp(selector.name, name) == 0) return &selector;
  return nullptr;
}
T5G_EXPORT Id objc_getClass(const char*) {
  static Object any;
  return &any;
}
T5G_EXPORT void* objc_autoreleasePoolPush() { return reinterpret_cast<void*>(autoreleased.size()); }
T5G_EXPORT void objc_autoreleasePoolPop(void* pool) {
  while (autoreleased.size() > reinterpret_cast<size_t>(pool)) {
    methods::release(autoreleased.back(), nullptr);
    autoreleased.pop_back();
  }
}
T5G_EXPORT Id MTLCreateSystemDefaultDevice() {
  return plan().get("devices", 1) == 0 || plan().get("default", 1) == 0 ? nullptr : new Object;
}
T5G_EXPORT Id MTLCopyAllDevices() { return new Object; }

}  // namespace t5g::metal
