// How a caller stops work that is under way: Ctrl-C in Python, a stream that is closed.
#pragma once

#include <atomic>

namespace t5g {

// Asked by the calling thread now and then.
class Interrupt {
 public:
  virtual ~Interrupt() = default;
  // True when the work should stop. Called often: must be cheap. May throw, which stops the work too.
  virtual bool poll() = 0;
};

// Stops when a flag, which any thread may set, or another interrupt says so; and knows which it was.
class FlagInterrupt final : public Interrupt {
 public:
  // outer: may be null.
  FlagInterrupt(const std::atomic<bool>& flag, Interrupt* outer) : flag_(flag), outer_(outer) {}

  bool poll() override {
    by_outer_ = by_outer_ || (outer_ != nullptr && outer_->poll());
    return by_outer_ || flag_.load(std::memory_order_relaxed);
  }

  // Whether `outer` has said stop: what it has left for its caller (an exception of Python's) must then come out.
  bool by_outer() const { return by_outer_; }

 private:
  const std::atomic<bool>& flag_;
  Interrupt* const outer_;
  bool by_outer_ = false;
};

}  // namespace t5g
