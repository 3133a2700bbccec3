// An object that one thread uses at a time. A second user is told so instead of waiting: what it waits for could be a
// callback of the first, and that could wait for the second.
#pragma once

#include <atomic>
#include <string>
#include <utility>

#include "base/error.h"

namespace t5g::python {

template <class T>
class Exclusive {
 public:
  // what: for errors, "the sampler".
  template <class... Args>
  explicit Exclusive(const char* what, Args&&... args) : what_(what), it_(std::forward<Args>(args)...) {}

  // body(T&), and what it returns. Throws InvalidArgument while another one runs.
  template <class Body>
  auto use(Body&& body) {
    if (in_use_.exchange(true)) {
      throw InvalidArgument(std::string(what_) +
                            " is in use: by another thread, or by the very call whose callback this is. Wait for it, "
                            "or make another one.");
    }
    const Release release{in_use_};
    return std::forward<Body>(body)(it_);
  }

 private:
  struct Release {
    std::atomic<bool>& flag;
    ~Release() { flag.store(false); }
  };
  const char* const what_;
  T it_;
  std::atomic<bool> in_use_{false};
};

}  // namespace t5g::python
