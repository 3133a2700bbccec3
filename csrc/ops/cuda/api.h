// NVIDIA's driver, found in its library when a process first asks for it: neither building t5g nor installing it needs
// a header or a library of CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace t5g::cuda {

// Types of the driver's interface, laid out as there.
using DeviceId = int;
using Address = uint64_t;
using Context = struct ContextObject*;
using Module = struct ModuleObject*;
using Function = struct FunctionObject*;
using Stream = struct StreamObject*;
using Event = struct EventObject*;
using Graph = struct GraphObject*;
using GraphExec = struct GraphExecObject*;

// What the driver's functions return: some of its numbers.
enum Result : int {
  kSuccess = 0,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kStubLibrary = 34,
  kDeviceUnavailable = 46,
  kNoDevice = 100,
  kEccUncorrectable = 214,
  kNvlinkUncorrectable = 220,
  kContained = 226,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchTimeout = 702,
  kContextIsDestroyed = 709,
  kAssert = 710,
  kHardwareStackError = 714,
  kLaunchFailed = 719,
  kSystemNotReady = 802,
  kSystemDriverMismatch = 803,
  kUnknown = 999,
};

// Arguments of the driver's functions.
enum : int { kMultiprocessorCount = 16, kCapabilityMajor = 75, kCapabilityMinor = 76 };  // cuDeviceGetAttribute
enum : int { kErrorLogBuffer = 5, kErrorLogBufferBytes = 6 };                            // cuModuleLoadDataEx
enum : int { kCaptureThreadLocal = 1 };                                                  // cuStreamBeginCapture
enum : unsigned { kBlockingSync = 4 };                                                   // cuCtxCreate
enum : unsigned { kHostPortable = 1 };                                                   // cuMemHostAlloc
enum : unsigned { kNonBlocking = 1 };                                                    // cuStreamCreate
enum : unsigned { kDisableTiming = 2 };                                                  // cuEventCreate

struct Api {
#define T5G_CUDA_FUNCTION(name, parameters) Result(*name) parameters = nullptr;
#include "ops/cuda/api.inc"
#undef T5G_CUDA_FUNCTION
};

// The driver, started on first use. Throws Unsupported, with the way out: no driver, one too old, no GPU, or a process
// whose parent used it before the fork.
const Api& api();

// The driver's words for a result: "out of memory (CUDA_ERROR_OUT_OF_MEMORY)".
std::string explain(const Api& driver, Result result);

}  // namespace t5g::cuda
