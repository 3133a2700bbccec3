// Hardware capabilities and affinity on Linux and Android, sysctl on Apple's systems.
#include "base/os/cpu.h"

#include <sched.h>
#include <unistd.h>

#include "base/cpu_features.h"
#include "base/os/x86.h"

#if defined(__APPLE__)
#include <TargetConditionals.h>
#include <sys/sysctl.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>

#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <vector>
#endif

namespace t5g::os {
namespace {

[[maybe_unused]] int online_cpus() {
  const long n = ::sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? static_cast<int>(n) : 1;
}

#if defined(__linux__)
// The CPUs of this process's affinity mask, in a set as large as this machine needs; empty when it cannot be had.
std::vector<int> allowed_cpus() {
  for (int n_cpus = CPU_SETSIZE; n_cpus <= (1 << 16); n_cpus *= 2) {
    const auto n = static_cast<size_t>(n_cpus);
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(n), [](cpu_set_t* s) { CPU_FREE(s); });
    const size_t size = CPU_ALLOC_SIZE(n);
    if (set == nullptr || ::sched_getaffinity(0, size, set.get()) != 0) continue;
    std::vector<int> cpus;
    for (size_t cpu = 0; cpu < n; ++cpu) {
      if (CPU_ISSET_S(cpu, size, set.get())) cpus.push_back(static_cast<int>(cpu));
    }
    return cpus;
  }
  return {};
}
#endif

#if defined(__APPLE__)
int system_number(const char* name) {
  int value = 0;
  size_t size = sizeof value;
  return ::sysctlbyname(name, &value, &size, nullptr, 0) == 0 ? value : 0;
}
#endif

}  // namespace

uint64_t detect_cpu_features() {
#if defined(__aarch64__) && defined(__linux__)
  const unsigned long caps = ::getauxval(AT_HWCAP), caps2 = ::getauxval(AT_HWCAP2);
  uint64_t features = kCpuNeon;
  if (caps & (1ul << 20)) features |= kCpuNeonDotprod;  // HWCAP_ASIMDDP
  if (caps2 & (1ul << 13)) features |= kCpuNeonI8mm;    // HWCAP2_I8MM
  return features;
#elif defined(__aarch64__) && defined(__APPLE__)
  uint64_t features = kCpuNeon;
  // Every Mac has the dot product, also those whose system does not tell.
  if (TARGET_OS_OSX || system_number("hw.optional.arm.FEAT_DotProd") != 0) features |= kCpuNeonDotprod;
  if (system_number("hw.optional.arm.FEAT_I8MM") != 0) features |= kCpuNeonI8mm;
  return features;
#elif defined(__aarch64__)
  return kCpuNeon;
#else
  return x86_features();
#endif
}

bool request_amx() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

int allowed_physical_cores() {
#if defined(__linux__)
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.empty()) return online_cpus();
  // Hyper-threads of one core name the same siblings, so they count once.
  std::set<std::string> cores;
  for (const int cpu : cpus) {
    const std::string name = "cpu" + std::to_string(cpu);
    std::ifstream file("/sys/devices/system/cpu/" + name + "/topology/thread_siblings_list");
    std::string siblings;
    cores.insert(file >> siblings ? siblings : name);  // topology unknown: every CPU is a core
  }
  return static_cast<int>(cores.size());
#elif defined(__APPLE__)
  // The fast cores: the slow ones would keep the others waiting.
  for (const char* name : {"hw.perflevel0.physicalcpu", "hw.physicalcpu"}) {
    if (const int cores = system_number(name); cores > 0) return cores;
  }
  return online_cpus();
#else
  return online_cpus();
#endif
}

}  // namespace t5g::os
