// Opens the driver's library and takes its functions by name, once per process.
#include "ops/cuda/api.h"

#include <cstdlib>

#include "base/error.h"
#include "base/fork_count.h"
#include "base/os/library.h"
#include "base/printable.h"

namespace t5g::cuda {
namespace {

constexpr int kOldestVersion = 12040;  // CUDA 12.4: the first that takes the kernels' compression apart

[[noreturn]] void refuse(const Message& what) { throw Unsupported("device 'cuda': " + what); }

[[noreturn]] void refuse_old(const std::string& what) {
  refuse("NVIDIA's driver is too old: " + what + ". t5g needs a driver for CUDA 12.4 or later (550 or later): update " +
         "it, or use " + to_give("device", "cpu") + ".");
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Api find_functions() {
  std::string why_not;
  void* library = os::open_library("libcuda.so.1", why_not);
  if (library == nullptr)
    refuse("NVIDIA's driver is not here (libcuda.so.1 was not found). Install the driver, or use " +
           to_give("device", "cpu") + ".");
  Api found;
#define T5G_CUDA_FUNCTION(name, parameters)                                             \
  found.name = reinterpret_cast<decltype(found.name)>(os::find_symbol(library, #name)); \
  if (found.name == nullptr) refuse_old("it has no " #name);
#include "ops/cuda/api.inc"
#undef T5G_CUDA_FUNCTION
  return found;
}

[[noreturn]] void refuse_start(const Api& driver, Result result) {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  switch (result) {
    case kNoDevice:
      if (visible != nullptr)
        refuse("no NVIDIA GPU is visible: CUDA_VISIBLE_DEVICES is '" + printable(visible) + "'. Change it, or use " +
               to_give("device", "cpu") + ".");
      refuse("there is no NVIDIA GPU that the driver can use (nvidia-smi says what it sees). Use " +
             to_give("device", "cpu") + ".");
    case kStubLibrary:
      refuse(
          "the libcuda.so.1 that was found is the stub that programs are linked with, and not the driver. Take its "
          "folder out of LD_LIBRARY_PATH, or use " +
          to_give("device", "cpu") + ".");
    case kSystemDriverMismatch:
      refuse(
          "NVIDIA's kernel module and libcuda.so.1 are of different versions. Restart the machine after the update "
          "of the driver, or use " +
          to_give("device", "cpu") + ".");
    default:
      refuse("NVIDIA's driver does not start: " + explain(driver, result) + ". Use " + to_give("device", "cpu") + ".");
  }
}

struct Started {
  const uint32_t forks = fork_count();
  const Api functions = find_functions();

  Started() {
    int version = 0;
    if (functions.cuDriverGetVersion(&version) == kSuccess && version < kOldestVersion)
      refuse_old("it is for CUDA " + version_text(version));
    if (const Result result = functions.cuInit(0); result != kSuccess) refuse_start(functions, result);
  }
};

}  // namespace

const Api& api() {
  static const Started started;  // where this throws, the next call tries again
  if (started.forks != fork_count())
    refuse(
        "this process was forked off one that had used CUDA already (t5g.system_info() is use too), and CUDA does not "
        "work in such a child. Start processes with multiprocessing's method 'spawn', or use CUDA in children only.");
  return started.functions;
}

std::string explain(const Api& driver, Result result) {
  const char *text = nullptr, *name = nullptr;
  driver.cuGetErrorString(result, &text);
  driver.cuGetErrorName(result, &name);
  if (text == nullptr || name == nullptr) return "error " + std::to_string(result);
  return std::string(text) + " (" + name + ")";
}

}  // namespace t5g::cuda
