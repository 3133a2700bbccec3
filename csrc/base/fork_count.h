// How often this process was forked off another: threads, and what a device made, stay behind in the parent.
#pragma once

#include <cstdint>

namespace t5g {

// Forks between the process that first called this and the calling one. Cheap.
uint32_t fork_count();

}  // namespace t5g
