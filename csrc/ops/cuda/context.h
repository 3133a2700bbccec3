// What the models of a process that are on the same GPU share: its context, with the kernels loaded.
//
// It is a context of our own and not the primary one, which other libraries use: a kernel that fails takes its context
// with it, and only that. A model made afterwards gets a new one.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "kernels/gpu/kernels.h"
#include "ops/cuda/api.h"

namespace t5g::cuda {

struct DeviceFacts {
  DeviceId id;
  std::string product;  // "NVIDIA H100 80GB HBM3"
  size_t total_bytes;
  int capability;  // 90 for 9.0
  int n_processors;

  std::string description() const;  // "NVIDIA H100 80GB HBM3, 79.1 GiB"
};

// GPUs that the driver sees. Throws Unsupported: no driver.
int count_devices();
// Throws Unsupported: no driver, no such GPU, or one too old.
DeviceFacts device_facts(int index);

class SharedContext {
 public:
  // The context of a GPU: the one in use, or a new one. Throws Unsupported, and DeviceError when the GPU has no memory
  // left even for that.
  static std::shared_ptr<SharedContext> of(int index);
  ~SharedContext();
  SharedContext(const SharedContext&) = delete;
  SharedContext& operator=(const SharedContext&) = delete;

  const std::string& name() const { return name_; }
  const DeviceFacts& facts() const { return facts_; }
  const Api& driver() const { return driver_; }
  Function function(size_t kernel) const { return functions_[kernel]; }

  // Whether calls make sense: neither lost, nor of the process that this one was forked off.
  bool usable() const;
  // Throws DeviceError unless usable.
  void require_usable() const;
  // Throws DeviceError unless kSuccess. what: "to launch kernel 'matvec_F32_1'", after "failed".
  void check(Result result, const std::string& what);
  // The same where nothing may be thrown.
  void note(Result result) noexcept;

  // Makes the context the calling thread's, for as long as this lives: another library may have its own there.
  class Current {
   public:
    // Throws DeviceError unless usable.
    explicit Current(SharedContext& context);
    // Without a throw: active() says whether it worked.
    Current(SharedContext& context, std::nothrow_t) noexcept;
    ~Current();
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;
    bool active() const { return active_; }

   private:
    SharedContext& context_;
    bool active_ = false;
  };

 private:
  explicit SharedContext(int index);
  void load_kernels();
  Result find_functions(Module module);

  const std::string name_;  // "cuda:0"
  const Api& driver_;
  const DeviceFacts facts_;
  const uint32_t forks_;
  Context context_ = nullptr;
  std::vector<Function> functions_;
  std::atomic<Result> lost_{kSuccess};  // why
};

}  // namespace t5g::cuda
