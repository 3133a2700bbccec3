// Asks for the GPU, and compiles.
#include "ops/metal/metal_gpu.h"

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>

#ifdef __APPLE__
#include <TargetConditionals.h>
#endif

#include "base/error.h"
#include "base/printable.h"
#include "ops/gpu/messages.h"

namespace t5g::metal {
namespace {

constexpr UInteger kLanes = 32;
// The first with version 3.1 of the language.
#if defined(__APPLE__) && TARGET_OS_IPHONE
constexpr SystemVersion kOldestSystem{17, 0, 0};
constexpr const char* kNeededSystem = "iOS 17";
#else
constexpr SystemVersion kOldestSystem{14, 0, 0};
constexpr const char* kNeededSystem = "macOS 14";
#endif

[[noreturn]] void refuse(const Message& what) { throw Unsupported("device 'metal': " + what); }

Owned find_device() {
  if (runtime_is_lost())
    refuse(
        "this process was forked off one that had used Metal already (t5g.system_info() is use too), and Metal does "
        "not work in such a child. Start processes with multiprocessing's method 'spawn', or use Metal in children "
        "only.");
  const AutoreleasePool pool;
  if (!call::is_at_least(call::process_info(runtime().objc_getClass("NSProcessInfo")), kOldestSystem))
    refuse(std::string("this system is older than ") + kNeededSystem + ". Use " + to_give("device", "cpu") + ".");
  Owned device(runtime().MTLCreateSystemDefaultDevice());
  if (!device && runtime().MTLCopyAllDevices != nullptr) {  // nobody is logged in at the screen
    const Owned all(runtime().MTLCopyAllDevices());
    if (all) device = Owned::keep(call::first_object(all.get()));
  }
  if (!device) refuse("Metal finds no GPU. Use " + to_give("device", "cpu") + " or 'auto'.");
  const std::string product = text_of(call::name(device.get()));
  if (!call::supports_family(device.get(), kFamilyApple7) || !call::supports_family(device.get(), kFamilyMetal3))
    refuse(product + " is too old or not Apple's own, and t5g needs an M1 or later. Use " + to_give("device", "cpu") +
           ".");
  return device;
}

// T5G_METAL_SOURCE names a file with another text, to try changes without building t5g.
std::string kernel_text() {
  const char* path = std::getenv("T5G_METAL_SOURCE");
  if (path == nullptr || *path == '\0') return kKernelText;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError(printable(path), "reading the kernels that T5G_METAL_SOURCE names", errno);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

MetalGpu& MetalGpu::get() {
  const Owned device = find_device();  // says why where there is none, each time
  static auto& gpu = *new MetalGpu;    // never destroyed: models may be closed while the process ends
  return gpu;
}

MetalGpu::MetalGpu() : device_(find_device()) {
  const AutoreleasePool pool;
  product_ = text_of(call::name(device_.get()));
  library_ = compile_library();
}

Owned MetalGpu::compile_library() const {
  const auto& selectors = runtime().selectors;
  const Owned options(call::new_object(runtime().objc_getClass("MTLCompileOptions")));
  call::set_language_version(options.get(), kLanguage3_1);
  // Sums are made in the order in which they are written, and functions are exact: results are the same on every GPU.
  if (responds_to(options.get(), selectors.set_math_mode)) {
    call::set_math_mode(options.get(), kMathSafe);
    call::set_math_functions(options.get(), kMathPrecise);
  } else {
    call::set_fast_math(options.get(), false);
  }
  Id error = nullptr;
  Owned library(call::new_library(device_.get(), string(kernel_text().c_str()), options.get(), &error));
  if (!library)
    refuse("the kernels do not compile on this system: " + printable(gpu::one_line(description_of(error)), 2000) +
           ". Use " + to_give("device", "cpu") + ".");
  return library;
}

size_t MetalGpu::free_bytes() const {
  const size_t total = total_bytes(), taken = call::allocated_bytes(device_.get());
  return total > taken ? total - taken : 0;
}

Id MetalGpu::pipeline(size_t kernel) {
  const std::lock_guard lock(mutex_);
  Owned& pipeline = pipelines_[kernel];
  if (pipeline) return pipeline.get();
  const AutoreleasePool pool;
  const gpu::KernelInfo& info = gpu::kKernels[kernel];
  const std::string name(info.name), what = "device 'metal': " + product_ + ": kernel '" + name + "' ";
  const Owned function(call::new_function(library_.get(), string(name.c_str())));
  if (!function) throw DeviceError(what + "is not in the kernels' text (is T5G_METAL_SOURCE of another version?).");
  Id error = nullptr;
  Owned made(call::new_pipeline(device_.get(), function.get(), &error));
  if (!made) throw DeviceError(what + "cannot be made ready: " + gpu::one_line(description_of(error)) + ".");
  const UInteger threads = call::max_threads(made.get()), lanes = call::execution_width(made.get());
  if (threads < info.threads || lanes != kLanes)
    throw DeviceError(what + "would run with " + std::to_string(threads) + " threads in groups of " +
                      std::to_string(lanes) + ", and needs " + std::to_string(info.threads) + " in groups of " +
                      std::to_string(kLanes) + ". Use " + to_give("device", "cpu") + ".");
  pipeline = std::move(made);
  return pipeline.get();
}

std::string describe_gpu() {
  const AutoreleasePool pool;
  const Owned device = find_device();
  return text_of(call::name(device.get())) + ", " + gpu::bytes_text(call::recommended_bytes(device.get()));
}

}  // namespace t5g::metal
