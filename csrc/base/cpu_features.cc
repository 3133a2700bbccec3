// CPUID on x86, hardware capabilities on ARM Linux; and how many cores this process may use.
#include "base/cpu_features.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
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
#elif defined(__aarch64__)
uint64_t detect() { return kCpuNeon | kCpuNeonDotprod; }  // every Apple CPU of this architecture
#else
uint64_t detect() { return 0; }
#endif

// CPUs granted by the cgroup's quota (v2, then v1), or 0 when there is none.
double cgroup_cpu_quota() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period) return quota == "max" || period <= 0 ? 0 : std::stod(quota) / period;
  std::ifstream quota_us("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period_us("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double value = 0;
  if (quota_us >> value && period_us >> period && value > 0 && period > 0) return value / period;
  return 0;
}

#if defined(__linux__)
// Distinct (package, core) pairs among the CPUs of the affinity mask: hyper-threads of one core count once.
int allowed_physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::ifstream package_file(topology + "physical_package_id"), core_file(topology + "core_id");
    int package = -1, core = -1;
    if (!(package_file >> package && core_file >> core)) core = cpu;  // topology unknown: every CPU is a core
    cores.emplace(package, core);
  }
  return static_cast<int>(cores.size());
}
#else
int allowed_physical_cores() { return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)); }
#endif

}  // namespace

uint64_t cpu_features() {
  static const uint64_t features = detect();
  return features;
}

std::vector<std::string> cpu_feature_names(uint64_t features) {
  static const std::pair<CpuFeature, const char*> kNames[] = {{kCpuAvx2, "avx2"},
                                                              {kCpuAvx512, "avx512"},
                                                              {kCpuAvx512Vnni, "avx512_vnni"},
                                                              {kCpuAvx512Bf16, "avx512_bf16"},
                                                              {kCpuAvxVnni, "avx_vnni"},
                                                              {kCpuNeon, "neon"},
                                                              {kCpuNeonDotprod, "dotprod"},
                                                              {kCpuNeonI8mm, "i8mm"}};
  std::vector<std::string> names;
  for (const auto& [bit, name] : kNames) {
    if (features & bit) names.emplace_back(name);
  }
  return names;
}

int default_thread_count() {
  int threads = allowed_physical_cores();
  const double quota = cgroup_cpu_quota();
  if (quota > 0) threads = std::min(threads, static_cast<int>(std::ceil(quota)));
  return std::max(threads, 1);
}

}  // namespace t5g
