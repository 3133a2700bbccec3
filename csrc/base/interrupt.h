// How a caller stops work that is under way: Ctrl-C in Python, a stream that is closed.
#pragma once

namespace t5g {

// Asked by the calling thread now and then.
class Interrupt {
 public:
  virtual ~Interrupt() = default;
  // True when the work should stop. Called often: must be cheap. May throw, which stops the work too.
  virtual bool poll() = 0;
};

}  // namespace t5g
