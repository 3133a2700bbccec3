// How a caller hears how far long work has come.
#pragma once

#include <cstdint>

namespace t5g {

// Told by the thread that does the work, often: must be cheap. What it throws ends the work.
class Progress {
 public:
  virtual ~Progress() = default;
  virtual void update(int64_t done, int64_t total) = 0;
};

}  // namespace t5g
