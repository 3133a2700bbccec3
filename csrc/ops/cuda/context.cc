// Opens contexts and loads the kernels into them; knows which failures a context does not survive.
#include "ops/cuda/context.h"

#include <array>
#include <map>
#include <mutex>

#include "base/error.h"
#include "base/fork_count.h"
#include "ops/cuda/images.h"
#include "ops/gpu/messages.h"

namespace t5g::cuda {
namespace {

constexpr int kOldestCapability = 75;

// After one of these every call in the context fails.
bool is_fatal(Result result) {
  switch (result) {
    case kDeviceUnavailable:
    case kEccUncorrectable:
    case kNvlinkUncorrectable:
    case kContained:
    case kIllegalAddress:
    case kLaunchTimeout:
    case kContextIsDestroyed:
    case kAssert:
    case kUnknown:
      return true;
    default:
      return result >= kHardwareStackError && result <= kLaunchFailed;
  }
}

std::string device_name(int index) { return "cuda:" + std::to_string(index); }

std::string capability_text(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

int attribute(const Api& driver, DeviceId device, int which) {
  int value = 0;
  driver.cuDeviceGetAttribute(&value, which, device);
  return value;
}

}  // namespace

std::string DeviceFacts::description() const { return product + ", " + gpu::bytes_text(total_bytes); }

int count_devices() {
  int n = 0;
  return api().cuDeviceGetCount(&n) == kSuccess ? n : 0;
}

DeviceFacts device_facts(int index) {
  const Api& driver = api();
  const std::string where = "device '" + device_name(index) + "': ";
  const int n = count_devices();
  DeviceFacts facts{};
  if (index >= n || driver.cuDeviceGet(&facts.id, index) != kSuccess)
    throw Unsupported(where + "no such GPU; NVIDIA's driver sees " + std::to_string(n) +
                      (n == 1 ? " (cuda:0)" : " (from cuda:0)") + ". CUDA_VISIBLE_DEVICES says which it may see.");
  char product[256] = {};
  driver.cuDeviceGetName(product, sizeof product - 1, facts.id);
  facts.product = product;
  driver.cuDeviceTotalMem_v2(&facts.total_bytes, facts.id);
  facts.capability = 10 * attribute(driver, facts.id, kCapabilityMajor) + attribute(driver, facts.id, kCapabilityMinor);
  facts.n_processors = attribute(driver, facts.id, kMultiprocessorCount);
  if (facts.capability < kOldestCapability)
    throw Unsupported(where + facts.product + " has compute capability " + capability_text(facts.capability) +
                      ", and t5g needs " + capability_text(kOldestCapability) +
                      " or later (Turing). Use another GPU, or " + to_give("device", "cpu") + ".");
  return facts;
}

std::shared_ptr<SharedContext> SharedContext::of(int index) {
  // Never destroyed: models may be closed while the process ends.
  static auto& mutex = *new std::mutex;
  static auto& contexts = *new std::map<int, std::weak_ptr<SharedContext>>;
  const Api& driver = api();  // before the lock, which a forked child may find locked
  static_cast<void>(driver);
  const std::lock_guard lock(mutex);
  std::shared_ptr<SharedContext> context = contexts[index].lock();
  if (context == nullptr || !context->usable()) {
    context.reset(new SharedContext(index));
    contexts[index] = context;
  }
  return context;
}

SharedContext::SharedContext(int index)
    : name_(device_name(index)), driver_(api()), facts_(device_facts(index)), forks_(fork_count()) {
  const Result result = driver_.cuCtxCreate_v2(&context_, kBlockingSync, facts_.id);
  if (result == kOutOfMemory)
    throw DeviceError("device '" + name_ + "': " + facts_.product +
                      " has not even the memory for a context (some hundred MiB): other processes have taken it "
                      "(nvidia-smi says which). End them, or use another device.");
  if (is_fatal(result) && result != kDeviceUnavailable)  // which here says that another process has it alone
    throw DeviceError("device '" + name_ + "': " + facts_.product + " cannot be used any more by this process: " +
                      explain(driver_, result) + ". Start the process anew, or use another device.");
  if (result != kSuccess)
    throw Unsupported("device '" + name_ + "': " + facts_.product + " cannot be used now: " + explain(driver_, result) +
                      ". Use another device.");
  try {
    load_kernels();
  } catch (...) {
    driver_.cuCtxDestroy_v2(context_);
    throw;
  }
  Context popped;
  driver_.cuCtxPopCurrent_v2(&popped);  // making it has made it current
}

SharedContext::~SharedContext() {
  if (forks_ == fork_count()) driver_.cuCtxDestroy_v2(context_);
}

// The first error of the functions, which the driver may load only when they are asked for.
Result SharedContext::find_functions(Module module) {
  functions_.resize(gpu::kNumKernels);
  for (size_t i = 0; i < gpu::kNumKernels; ++i) {
    const std::string kernel(gpu::kKernels[i].name);
    if (const Result result = driver_.cuModuleGetFunction(&functions_[i], module, kernel.c_str()); result != kSuccess)
      return result;
  }
  return kSuccess;
}

void SharedContext::load_kernels() {
  std::string tried;
  for (const Image& image : images()) {
    std::array<char, 1024> log{};
    int options[] = {kErrorLogBuffer, kErrorLogBufferBytes};
    void* values[] = {log.data(), reinterpret_cast<void*>(log.size() - 1)};
    Module module = nullptr;
    Result result = driver_.cuModuleLoadDataEx(&module, image.data, 2, options, values);
    if (result == kSuccess) result = find_functions(module);
    if (result == kSuccess) return;
    note(result);
    tried += std::string(tried.empty() ? "" : "; ") + image.what + ": " + explain(driver_, result) +
             (log[0] != '\0' ? std::string(", ") + log.data() : "");
  }
  throw Unsupported("device '" + name_ + "': the driver takes none of t5g's kernels for " + facts_.product +
                    " (compute capability " + capability_text(facts_.capability) + "): " + gpu::one_line(tried) +
                    ". Update the driver, or use " + to_give("device", "cpu") + ".");
}

bool SharedContext::usable() const { return lost_.load() == kSuccess && forks_ == fork_count(); }

void SharedContext::require_usable() const {
  if (forks_ != fork_count())
    throw DeviceError("device '" + name_ +
                      "': this model was opened before the process was forked, and CUDA does not work in the child. "
                      "Open the model there, in a process started with multiprocessing's method 'spawn'.");
  if (const Result why = lost_.load(); why != kSuccess)
    throw DeviceError("device '" + name_ + "': " + facts_.product +
                      " was lost to this model: " + explain(driver_, why) +
                      ". Close all models on it and open them again; if that fails too, start the process anew.");
}

void SharedContext::check(Result result, const std::string& what) {
  if (result == kSuccess) return;
  note(result);
  std::string message =
      "device '" + name_ + "': " + facts_.product + " failed " + what + ": " + explain(driver_, result) + ".";
  if (lost_.load() != kSuccess)
    message +=
        " The device is lost to the models that are open on it: close them and open them again; if "
        "that fails too, start the process anew.";
  throw DeviceError(message);
}

void SharedContext::note(Result result) noexcept {
  Result none = kSuccess;
  if (is_fatal(result)) lost_.compare_exchange_strong(none, result);
}

SharedContext::Current::Current(SharedContext& context) : context_(context) {
  context.require_usable();
  context.check(context.driver_.cuCtxPushCurrent_v2(context.context_), "to take up its context");
  active_ = true;
}

SharedContext::Current::Current(SharedContext& context, std::nothrow_t) noexcept
    : context_(context),
      active_(context.forks_ == fork_count() && context.driver_.cuCtxPushCurrent_v2(context.context_) == kSuccess) {}

SharedContext::Current::~Current() {
  Context popped;
  if (active_) context_.driver_.cuCtxPopCurrent_v2(&popped);
}

}  // namespace t5g::cuda
