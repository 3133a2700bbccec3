// What the vector units of this machine can do at most: fused multiply-adds on floats, pairs of bfloat16, and products
// of bytes summed in fours, each by the widest instructions there are, on registers only. For benchmarks/kernels.py,
// which compiles and runs it.
//
//   c++ -O2 -std=c++20 -pthread peaks.cc -o peaks && ./peaks 1 2      thread counts -> JSON, Gop/s of all threads
//   together
#include <algorithm>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

// Enough independent sums for the latency of the longest instruction at two per cycle, few enough for 16 registers.
#define T5G_CHAINS _Pragma("GCC unroll 12") for (int i = 0; i < 12; ++i)
constexpr double kChains = 12;

struct Peak {
  const char* name;
  void (*run)(long n);   // n times every chain
  double ops_per_chain;  // additions and multiplications of one instruction
};

// Hides what a sum begins with, or ends as: else equal chains would be computed once, and unused ones never.
#if defined(__x86_64__)
#define T5G_OPAQUE(v) asm volatile("" : "+v"(v))
#else
#define T5G_OPAQUE(v) asm volatile("" : "+w"(v))
#endif

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void fma256(long n) {
  __m256 sums[12] = {};
  const __m256 a = _mm256_set1_ps(0.5f);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
  for (; n > 0; --n) T5G_CHAINS sums[i] = _mm256_fmadd_ps(a, sums[i], a);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
}
__attribute__((target("avx2"))) void bytes256(long n) {
  __m256i sums[12] = {};
  __m256i w = _mm256_set1_epi8(3);
  const __m256i x = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
  for (; n > 0; --n) {
    T5G_CHAINS {
      T5G_OPAQUE(w);  // the products must be made anew
      sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones));
    }
  }
  T5G_CHAINS T5G_OPAQUE(sums[i]);
}
__attribute__((target("avx512f"))) void fma512(long n) {
  __m512 sums[12] = {};
  const __m512 a = _mm512_set1_ps(0.5f);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
  for (; n > 0; --n) T5G_CHAINS sums[i] = _mm512_fmadd_ps(a, sums[i], a);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
}
__attribute__((target("avxvnni"))) void vnni256(long n) {
  __m256i sums[12] = {};
  const __m256i w = _mm256_set1_epi8(3), x = _mm256_set1_epi8(5);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
  for (; n > 0; --n) T5G_CHAINS sums[i] = _mm256_dpbusd_avx_epi32(sums[i], w, x);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
}
__attribute__((target("avx512f,avx512vnni"))) void vnni512(long n) {
  __m512i sums[12] = {};
  const __m512i w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(5);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
  for (; n > 0; --n) T5G_CHAINS sums[i] = _mm512_dpbusd_epi32(sums[i], w, x);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
}
__attribute__((target("avx512f,avx512bf16"))) void bf16_512(long n) {
  __m512 sums[12] = {};
  const __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f00);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
  for (; n > 0; --n) T5G_CHAINS sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
}

std::vector<Peak> peaks() {
  std::vector<Peak> best;
  const bool avx512 = __builtin_cpu_supports("avx512f");
  if (avx512) {
    best.push_back({"fp32", fma512, 32});
  } else if (__builtin_cpu_supports("fma")) {
    best.push_back({"fp32", fma256, 16});
  }
  if (avx512 && __builtin_cpu_supports("avx512bf16")) best.push_back({"bf16", bf16_512, 64});
  if (avx512 && __builtin_cpu_supports("avx512vnni")) {
    best.push_back({"int8", vnni512, 128});
  } else if (__builtin_cpu_supports("avxvnni")) {
    best.push_back({"int8", vnni256, 64});
  } else if (__builtin_cpu_supports("avx2")) {
    best.push_back({"int8", bytes256, 64});
  }
  return best;
}
#elif defined(__aarch64__)
void fma_neon(long n) {
  float32x4_t sums[12] = {};
  const float32x4_t a = vdupq_n_f32(0.5f);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
  for (; n > 0; --n) T5G_CHAINS sums[i] = vfmaq_f32(a, sums[i], a);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
}
#if defined(__ARM_FEATURE_DOTPROD)
void sdot(long n) {
  int32x4_t sums[12] = {};
  const int8x16_t a = vdupq_n_s8(3);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
  for (; n > 0; --n) T5G_CHAINS sums[i] = vdotq_s32(sums[i], a, a);
  T5G_CHAINS T5G_OPAQUE(sums[i]);
}
#endif
std::vector<Peak> peaks() {
  std::vector<Peak> all = {{"fp32", fma_neon, 8}};
#if defined(__ARM_FEATURE_DOTPROD)
  all.push_back({"int8", sdot, 32});
#endif
  return all;
}
#else
std::vector<Peak> peaks() { return {}; }
#endif

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// All threads run at once, each as fast as it can by its own clock: its best of many short samples, so that other load
// on the machine disturbs little.
double measure(const Peak& peak, int n_threads) {
  constexpr long kRepeat = 400000;
  std::barrier start(n_threads);
  std::vector<double> rates(static_cast<size_t>(n_threads));
  std::vector<std::thread> threads;
  for (int t = 0; t < n_threads; ++t) {
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      for (int sample = 0; sample < 60; ++sample) {
        const double begin = cpu_seconds();
        peak.run(kRepeat);
        const double rate = kChains * kRepeat * peak.ops_per_chain / (cpu_seconds() - begin) / 1e9;
        rates[static_cast<size_t>(t)] = std::max(rates[static_cast<size_t>(t)], rate);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  std::string json;
  for (int i = 1; i < argc; ++i) {
    json += (json.empty() ? "\"" : ", \"") + std::string(argv[i]) + "\": {";
    bool first = true;
    for (const Peak& peak : peaks()) {
      json += (first ? "\"" : ", \"") + std::string(peak.name) + "\": ";
      json += std::to_string(measure(peak, std::max(1, std::atoi(argv[i]))));
      first = false;
    }
    json += "}";
  }
  std::printf("{%s}\n", json.c_str());
}
