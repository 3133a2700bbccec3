// How often this process was forked off another: threads, and what a device made, stay behind in the parent.
#pragma once

#include "base/os/process.h"

namespace t5g {

// Forks between the process that first called this and the calling one; 0 where there is no fork. Cheap.
inline uint32_t fork_count() { return os::fork_count(); }

}  // namespace t5g
