// Ends the items of a loop from within, where one of them may take longer than anyone waits for Ctrl-C.
#pragma once

#include <atomic>

#include "base/error.h"
#include "base/interrupt.h"

namespace t5g {

class StopInside {
 public:
  // interrupt: of the loop; may be null.
  explicit StopInside(Interrupt* interrupt) : interrupt_(interrupt) {}

  // Whether the thread should leave its item as it is: what it computes is no longer wanted. The interrupt is asked by
  // thread 0 alone, which is the caller's own, and gets Cancelled.
  bool asked(int thread) {
    if (thread == 0 && interrupt_ != nullptr && interrupt_->poll()) {
      stopped_.store(true, std::memory_order_relaxed);
      throw Cancelled();
    }
    return stopped_.load(std::memory_order_relaxed);
  }

 private:
  Interrupt* const interrupt_;
  std::atomic<bool> stopped_{false};
};

}  // namespace t5g
