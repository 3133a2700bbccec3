// Metal without a compiler for Objective-C: its methods are C functions behind objc_msgSend. The runtime and the
// framework are opened when they are first asked for, so that t5g can be built where they are not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace t5g::metal {

using Id = struct Object*;
using Selector = struct SelectorObject*;
using Integer = long;
using UInteger = unsigned long;
struct Size {
  UInteger width, height, depth;
};
struct SystemVersion {  // NSOperatingSystemVersion
  Integer major, minor, patch;
};

// Values of Metal's enumerations.
enum : UInteger { kSharedUntracked = 0x100 };                   // MTLResourceOptions
enum : UInteger { kReadAndWrite = 3 };                          // MTLResourceUsage
enum : UInteger { kBuffers = 1 };                               // MTLBarrierScope
enum : UInteger { kCompleted = 4, kFailed = 5 };                // MTLCommandBufferStatus
enum : UInteger { kLanguage3_1 = 3 << 16 | 1 };                 // MTLLanguageVersion, macOS 14
enum : Integer { kFamilyApple7 = 1007, kFamilyMetal3 = 5001 };  // MTLGPUFamily
enum : Integer { kOutOfMemory = 8 };                            // MTLCommandBufferError
enum : Integer { kMathSafe = 0, kMathPrecise = 1 };             // MTLMathMode, MTLMathFloatingPointFunctions

struct Runtime {
  void (*objc_msgSend)() = nullptr;
  Id (*objc_getClass)(const char*) = nullptr;
  Selector (*sel_registerName)(const char*) = nullptr;
  void* (*objc_autoreleasePoolPush)() = nullptr;
  void (*objc_autoreleasePoolPop)(void*) = nullptr;
  Id (*MTLCreateSystemDefaultDevice)() = nullptr;
  Id (*MTLCopyAllDevices)() = nullptr;  // may be missing

  struct Selectors {
#define T5G_METAL_METHOD(Result, name, selector, parameters, arguments) Selector name = nullptr;
#include "ops/metal/methods.inc"
#undef T5G_METAL_METHOD
  } selectors;
};

// Opened on first use. Throws Unsupported where there is no Metal.
const Runtime& runtime();
// Whether this process was forked off one that had opened it: then no method may be called any more.
bool runtime_is_lost();

template <typename Result, typename... Arguments>
Result send(Id to, Selector selector, Arguments... arguments) {
  return reinterpret_cast<Result (*)(Id, Selector, Arguments...)>(runtime().objc_msgSend)(to, selector, arguments...);
}

// The methods, each a function of that name in `call`: call::commit(buffer).
namespace call {
#define T5G_METAL_UNPACK(...) __VA_OPT__(, ) __VA_ARGS__
#define T5G_METAL_METHOD(Result, name, selector, parameters, arguments)           \
  inline Result name(Id to T5G_METAL_UNPACK parameters) {                         \
    return send<Result>(to, runtime().selectors.name T5G_METAL_UNPACK arguments); \
  }
#include "ops/metal/methods.inc"
#undef T5G_METAL_METHOD
#undef T5G_METAL_UNPACK
}  // namespace call

// Frees what methods return without the caller owning it.
class AutoreleasePool {
 public:
  AutoreleasePool() : pool_(runtime().objc_autoreleasePoolPush()) {}
  ~AutoreleasePool() { runtime().objc_autoreleasePoolPop(pool_); }
  AutoreleasePool(const AutoreleasePool&) = delete;
  AutoreleasePool& operator=(const AutoreleasePool&) = delete;

 private:
  void* const pool_;
};

// Owns an object, which methods called new_... return; keep() takes part in another's.
class Owned {
 public:
  Owned() = default;
  explicit Owned(Id object) : object_(object) {}
  static Owned keep(Id object) { return Owned(object == nullptr ? nullptr : call::retain(object)); }
  Owned(Owned&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Owned() {
    if (object_ != nullptr && !runtime_is_lost()) call::release(object_);
  }
  Id get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  Id object_ = nullptr;
};

Id string(const char* text);           // an NSString, autoreleased
std::string text_of(Id string);        // of an NSString; "" for null
std::string description_of(Id error);  // of an NSError; "no reason given" for null
bool responds_to(Id object, Selector selector);

}  // namespace t5g::metal
