// A model that can be closed while others still keep it. Generators, results and Python objects keep the handle, and
// take the model for one call at a time. Closing ends the calls under way, and the model's memory goes with the last of
// them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/os/process.h"
#include "runtime/model.h"

namespace t5g {

// Somebody who keeps what lies on a model's device from one call to the next.
class ModelUser {
 public:
  virtual ~ModelUser() = default;
  // The model is about to go, and with it the device: lets go of all that is on it. No call is under way. By whoever
  // has closed the model, or was the last to use it.
  virtual void let_go() noexcept = 0;
};

class ModelHandle {
 public:
  // Opens the file. Throws as Model's constructor.
  ModelHandle(const std::string& path, const ModelOptions& options)
      : ModelHandle(ModelLocation{.path = path}, options) {}
  ModelHandle(const ModelLocation& location, const ModelOptions& options)
      : model_(std::make_unique<Model>(location, options)), process_(os::process_id()) {}
  ModelHandle(const ModelHandle&) = delete;
  ModelHandle& operator=(const ModelHandle&) = delete;

  // Calls body(Model&, Interrupt*) and returns what it returns; the interrupt is for what takes time, and says stop
  // when `outer` does (which may be null) or when the model is being closed. Calls may be nested. Throws ModelClosed
  // when the model is closed, or is closed before the call has ended.
  template <class Body>
  auto use(Interrupt* outer, Body&& body) {
    Use use(*this, outer);
    try {
      return std::forward<Body>(body)(*model_, &use.interrupt);
    } catch (const Cancelled&) {
      if (use.interrupt.by_outer() || !closing_.load()) throw;
      throw ModelClosed("the model was closed during the call.");
    }
  }

  // From any thread, any number of times. When it returns the memory is free, but for two cases: a thread that closes
  // the model from inside a call of its own (in a signal handler) goes on to end that call, and a forked child may have
  // copies of calls that never end.
  void close();
  // Whether anybody has closed it.
  bool is_closed() const { return closing_.load(); }

  // Whom to tell before the model goes, until remove_user(). Throws ModelClosed when it is gone.
  void add_user(ModelUser& user);
  void remove_user(ModelUser& user);

 private:
  // A call under way. Those of a thread form a stack.
  struct Use {
    Use(ModelHandle& handle, Interrupt* outer);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    ModelHandle& handle;
    FlagInterrupt interrupt;
    const Use* const enclosing;
  };
  static thread_local const Use* innermost_use;

  bool this_thread_uses_it() const;
  void end_use();

  std::unique_ptr<Model> model_;
  const int64_t process_;
  std::mutex users_mutex_;
  std::vector<ModelUser*> users_;
  std::atomic<int64_t> n_uses_{1};  // and one for being open
  std::atomic<bool> closing_{false};
  std::atomic<bool> gone_{false};
};

}  // namespace t5g
