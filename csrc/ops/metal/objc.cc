// Opens the Objective-C runtime and Metal, and registers the selectors.
#include "ops/metal/objc.h"

#include <dlfcn.h>

#include <atomic>

#include "base/error.h"
#include "base/fork_count.h"

namespace t5g::metal {
namespace {

#ifdef __APPLE__
constexpr const char* kRuntimeLibrary = "/usr/lib/libobjc.A.dylib";
constexpr const char* kMetalLibrary = "/System/Library/Frameworks/Metal.framework/Metal";
// Where it is not loaded, as in a program without windows, Metal has no default device.
constexpr const char* kGraphicsLibrary = "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics";
#else
// Builds for tests have the fake of tests/support/fakes somewhere.
constexpr const char* kRuntimeLibrary = "libt5g_fake_metal.so";
constexpr const char* kMetalLibrary = kRuntimeLibrary;
constexpr const char* kGraphicsLibrary = kRuntimeLibrary;
#endif

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  if (function == nullptr) throw Unsupported(std::string("device 'metal': this system's Metal has no ") + name + ".");
}

// Forks before the runtime was opened, plus one; 0: not open.
std::atomic<uint32_t> opened_after{0};

Runtime open() {
  void* objc = ::dlopen(kRuntimeLibrary, RTLD_NOW | RTLD_LOCAL);
  void* metal = objc == nullptr ? nullptr : ::dlopen(kMetalLibrary, RTLD_NOW | RTLD_LOCAL);
  if (metal == nullptr)
    throw Unsupported("device 'metal': this system has no Metal. Use " + to_give("device", "cpu") + " or 'auto'.");
  ::dlopen(kGraphicsLibrary, RTLD_NOW | RTLD_LOCAL);
  Runtime opened;
  find(objc, "objc_msgSend", opened.objc_msgSend);
  find(objc, "objc_getClass", opened.objc_getClass);
  find(objc, "sel_registerName", opened.sel_registerName);
  find(objc, "objc_autoreleasePoolPush", opened.objc_autoreleasePoolPush);
  find(objc, "objc_autoreleasePoolPop", opened.objc_autoreleasePoolPop);
  find(metal, "MTLCreateSystemDefaultDevice", opened.MTLCreateSystemDefaultDevice);
  opened.MTLCopyAllDevices = reinterpret_cast<Id (*)()>(::dlsym(metal, "MTLCopyAllDevices"));  // not on every iOS
#define T5G_METAL_METHOD(Result, name, selector, parameters, arguments) \
  opened.selectors.name = opened.sel_registerName(selector);
#include "ops/metal/methods.inc"
#undef T5G_METAL_METHOD
  opened_after.store(fork_count() + 1);
  return opened;
}

}  // namespace

const Runtime& runtime() {
  static const Runtime opened = open();  // where this throws, the next call tries again
  return opened;
}

bool runtime_is_lost() {
  const uint32_t after = opened_after.load();
  return after != 0 && after != fork_count() + 1;
}

Id string(const char* text) { return call::string_with_utf8(runtime().objc_getClass("NSString"), text); }

std::string text_of(Id string) {
  const char* text = string == nullptr ? nullptr : call::utf8(string);
  return text == nullptr ? "" : text;
}

std::string description_of(Id error) {
  const std::string text = error == nullptr ? "" : text_of(call::localized_description(error));
  return text.empty() ? "no reason given" : text;
}

bool responds_to(Id object, Selector selector) { return call::responds_to_selector(object, selector); }

}  // namespace t5g::metal
