// CPUID on x86, hardware capabilities on ARM Linux; and how many cores this process may use.
#include "base/cpu_features.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <set>
#include <utility>

#include "base/cgroup.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace t5g {
namespace {

#if defined(__x86_64__)
uint64_t detect() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const bool osxsave = (c >> 27) & 1u, fma = (c >> 12) & 1u, f16c = (c >> 29) & 1u;
  if (!osxsave) return 0;  // a CPU may report AVX2 although the OS does not save its registers
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const bool os_ymm = (low & 0x06u) == 0x06u, os_zmm = (low & 0xe6u) == 0xe6u;
  if (!os_ymm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  uint64_t features = 0;
  if (((b >> 5) & 1u) && fma && f16c) features |= kCpuAvx2;
  const bool avx512 = os_zmm && ((b >> 16) & 1u) && ((b >> 17) & 1u) && ((b >> 30) & 1u) && ((b >> 31) & 1u);
  if (avx512 && (features & kCpuAvx2)) features |= kCpuAvx512;
  if (avx512 && ((c >> 11) & 1u)) features |= kCpuAvx512Vnni;
  if (avx512 && ((c >> 1) & 1u)) features |= kCpuAvx512Vbmi;
  const bool os_tiles = (low & 0x60000u) == 0x60000u;
  if (os_tiles && ((d >> 24) & 1u) && ((d >> 25) & 1u)) features |= kCpuAmxInt8;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) {
    if (features & kCpuAvx2) features |= ((a >> 4) & 1u) * kCpuAvxVnni;
    if (avx512 && ((a >> 5) & 1u)) features |= kCpuAvx512Bf16;
  }
  return features;
}
#elif defined(__aarch64__) && defined(__linux__)
uint64_t detect() {
  const unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
  uint64_t features = kCpuNeon;
  if (caps & (1ul << 20)) features |= kCpuNeonDotprod;  // HWCAP_ASIMDDP
  if (caps2 & (1ul << 13)) features |= kCpuNeonI8mm;    // HWCAP2_I8MM
  return features;
}
#elif defined(__APPLE__) && defined(__aarch64__)
uint64_t detect() {
  int i8mm = 0;
  size_t size = sizeof i8mm;
  if (sysctlbyname("hw.optional.arm.FEAT_I8MM", &i8mm, &size, nullptr, 0) != 0) i8mm = 0;
  return kCpuNeon | kCpuNeonDotprod | (i8mm != 0 ? kCpuNeonI8mm : 0u);  // every Mac has the dot product
}
#elif defined(__aarch64__)
uint64_t detect() { return kCpuNeon; }
#else
uint64_t detect() { return 0; }
#endif

#if defined(__linux__)
// The CPUs of this process's affinity mask, in a set as large as this machine needs; empty when it cannot be had.
std::vector<int> allowed_cpus() {
  for (int n_cpus = CPU_SETSIZE; n_cpus <= (1 << 16); n_cpus *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(n_cpus), [](cpu_set_t* s) { CPU_FREE(s); });
    const size_t size = CPU_ALLOC_SIZE(n_cpus);
    if (set == nullptr || sched_getaffinity(0, size, set.get()) != 0) continue;
    std::vector<int> cpus;
    for (int cpu = 0; cpu < n_cpus; ++cpu) {
      if (CPU_ISSET_S(cpu, size, set.get())) cpus.push_back(cpu);
    }
    return cpus;
  }
  return {};
}

// Hyper-threads of one core name the same siblings, so they count once.
int allowed_physical_cores() {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.empty()) return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  std::set<std::string> cores;
  for (const int cpu : cpus) {
    const std::string name = "cpu" + std::to_string(cpu);
    std::ifstream file("/sys/devices/system/cpu/" + name + "/topology/thread_siblings_list");
    std::string siblings;
    cores.insert(file >> siblings ? siblings : name);  // topology unknown: every CPU is a core
  }
  return static_cast<int>(cores.size());
}
#elif defined(__APPLE__)
// The fast cores: the slow ones would keep the others waiting.
int allowed_physical_cores() {
  for (const char* name : {"hw.perflevel0.physicalcpu", "hw.physicalcpu"}) {
    int cores = 0;
    size_t size = sizeof cores;
    if (sysctlbyname(name, &cores, &size, nullptr, 0) == 0 && cores > 0) return cores;
  }
  return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
}
#else
int allowed_physical_cores() { return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)); }
#endif

}  // namespace

uint64_t cpu_features() {
  static const uint64_t features = detect();
  return features;
}

bool may_use_amx() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool permitted =
      (cpu_features() & kCpuAmxInt8) != 0 && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
#else
  return false;
#endif
}

std::vector<std::string> cpu_feature_names(uint64_t features) {
  static const std::pair<CpuFeature, const char*> kNames[] = {{kCpuAvx2, "avx2"},
                                                              {kCpuAvx512, "avx512"},
                                                              {kCpuAvx512Vnni, "avx512_vnni"},
                                                              {kCpuAvx512Bf16, "avx512_bf16"},
                                                              {kCpuAvxVnni, "avx_vnni"},
                                                              {kCpuAmxInt8, "amx_int8"},
                                                              {kCpuAvx512Vbmi, "avx512_vbmi"},
                                                              {kCpuNeon, "neon"},
                                                              {kCpuNeonDotprod, "dotprod"},
                                                              {kCpuNeonI8mm, "i8mm"}};
  std::vector<std::string> names;
  for (const auto& [bit, name] : kNames) {
    if (features & bit) names.emplace_back(name);
  }
  return names;
}

int usable_core_count() {
  double cores = allowed_physical_cores();
  const double quota = cgroup_cpu_quota();
  if (quota > 0) cores = std::min(cores, std::ceil(quota));
  return std::max(static_cast<int>(cores), 1);
}

}  // namespace t5g
