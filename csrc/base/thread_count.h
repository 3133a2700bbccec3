// How many threads to run where no caller says: as many as the environment asks for, else one for each usable core.
#pragma once

#include <optional>

namespace t5g {

constexpr int kMaxThreads = 1024;

// T5G_NUM_THREADS, or OMP_NUM_THREADS (its first number, that of the outermost level) where that is not set; none
// without either. A T5G_NUM_THREADS that is no number of threads throws InvalidArgument; such an OMP_NUM_THREADS is
// ignored, as OpenMP does, because it is not set for t5g.
std::optional<int> threads_from_environment();

// That, or the physical cores that this process may use, within the cgroup's CPU quota.
int default_thread_count();

}  // namespace t5g
