// The small parts of csrc/base: half floats against their definition, every one of them; text for messages; cgroups.
// Usage: base_checks [--all], where --all converts all 2^32 floats instead of every 509th.
#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

#include "base/cgroup.h"
#include "base/cpu_features.h"
#include "base/free_memory.h"
#include "base/half.h"
#include "base/os/process.h"
#include "base/printable.h"
#include "base/random.h"
#include "base/thread_count.h"
#include "base/utf8.h"
#include "checks.h"

namespace {

// A 16-bit format by its definition: `exponent_bits` of exponent, the rest mantissa. Exact in double.
struct Format {
  int exponent_bits, mantissa_bits;
  uint16_t infinity() const { return static_cast<uint16_t>(((1u << exponent_bits) - 1) << mantissa_bits); }

  double value(uint16_t bits) const {  // of finite, positive bits; infinity is given the next value there would be
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = bits >> mantissa_bits, mantissa = bits & ((1 << mantissa_bits) - 1);
    if (exponent == 0) return std::ldexp(mantissa, 1 - bias - mantissa_bits);
    return std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
  }
};

// Walks through the positive floats in order and along the format's values beside them: the nearest of two neighbours
// is right, the even one in the middle.
template <class ToFloat, class FromFloat>
void check_format(const Format& format, ToFloat to_float, FromFloat from_float, uint32_t stride) {
  for (uint32_t bits = 0; bits < format.infinity(); ++bits) {
    const auto b = static_cast<uint16_t>(bits);
    T5G_CHECK(to_float(b) == format.value(b));
    T5G_CHECK(std::bit_cast<uint32_t>(to_float(b | 0x8000u)) == (std::bit_cast<uint32_t>(to_float(b)) | 0x80000000u));
    T5G_CHECK(from_float(to_float(b)) == b);
    // The middle between two neighbours and the floats on either side of it.
    const double middle = (format.value(b) + format.value(static_cast<uint16_t>(b + 1))) / 2;
    const auto m = static_cast<float>(middle);
    if (m != middle || !std::isfinite(m)) continue;
    T5G_CHECK(from_float(m) == ((b & 1) == 0 ? b : b + 1));
    T5G_CHECK(from_float(std::nextafter(m, 0.0f)) == b);
    T5G_CHECK(from_float(std::nextafter(m, std::numeric_limits<float>::infinity())) == b + 1);
  }
  uint16_t below = 0;
  for (uint64_t bits = 0; bits <= 0x7f800000u; bits += stride) {
    const auto f = std::bit_cast<float>(static_cast<uint32_t>(bits));
    while (below < format.infinity() && format.value(static_cast<uint16_t>(below + 1)) <= f) ++below;
    const uint16_t above = below == format.infinity() ? below : static_cast<uint16_t>(below + 1);
    const double to_below = f - format.value(below), to_above = format.value(above) - f;
    const uint16_t nearest = to_below < to_above || (to_below == to_above && below % 2 == 0) ? below : above;
    const uint16_t expected = below == format.infinity() ? below : nearest;
    T5G_CHECK(from_float(f) == expected);
    T5G_CHECK(from_float(-f) == (expected | 0x8000u));
  }
  for (uint32_t bits = format.infinity(); bits < 0x8000u; ++bits) {
    const float f = to_float(static_cast<uint16_t>(bits));
    T5G_CHECK(bits == format.infinity() ? std::isinf(f) : std::isnan(f));
  }
  for (const uint32_t nan : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0xffc00000u}) {
    const uint16_t converted = from_float(std::bit_cast<float>(nan));
    T5G_CHECK((converted & 0x7fffu) > format.infinity() && (converted >> 15) == (nan >> 31));
  }
}

void check_text() {
  for (const std::string_view good :
       {"", "abc", "Gr\xc3\xbc\xc3\x9f", "\xf0\x9f\x99\x82", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"})
    T5G_CHECK(t5g::is_utf8(good));
  for (const std::string_view bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                                     "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82", "a\xff"})
    T5G_CHECK(!t5g::is_utf8(bad));
  T5G_CHECK(t5g::printable("a\n\x1b[1m\x7f") == "a\\x0a\\x1b[1m\\x7f");
  T5G_CHECK(t5g::printable("\xe2\x80\xa8\xc2\x85") == "\\xe2\\x80\\xa8\\xc2\\x85");
  T5G_CHECK(t5g::printable("\xff"
                           "Gr\xc3\xbc\xc3") == "\\xffGr\xc3\xbc\\xc3");
  T5G_CHECK(t5g::printable("aaaaaaaa", 3) == "aaa...");
  T5G_CHECK(t5g::printable("\xc3\xbc\xc3\xbc", 3) == "\xc3\xbc\xc3\xbc");
}

void write(const std::filesystem::path& path, const char* text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

std::filesystem::path new_folder() {
  const std::string name = "t5g_base_checks_" + std::to_string(t5g::os::process_id()) + "_";
  const auto folder = std::filesystem::temp_directory_path() / (name + std::to_string(t5g::random_number()));
  T5G_CHECK(std::filesystem::create_directory(folder));
  return folder;
}

void check_free_memory() {
  namespace fs = std::filesystem;
  const fs::path root = new_folder();
  const auto free = [&](const char* membership) {
    write(root / "membership", membership);
    return t5g::free_memory((root / "meminfo").string(), (root / "membership").string(), (root / "mount").string());
  };
  constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();
  T5G_CHECK(free("0::/a/b\n") == kUnknown);
  write(root / "meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n");
  T5G_CHECK(free("0::/a/b\n") == 4000 * 1024);
  write(root / "mount/a/memory.max", "3000000\n");
  write(root / "mount/a/memory.current", "2500000\n");
  T5G_CHECK(free("0::/a/b\n") == 500000);
  write(root / "mount/a/memory.stat", "anon 2000000\ninactive_file 300000\n");
  T5G_CHECK(free("0::/a/b\n") == 800000);
  write(root / "mount/a/memory.current", "3500000\n");
  T5G_CHECK(free("0::/a/b\n") == 0);
  write(root / "mount/a/memory.max", "max\n");
  T5G_CHECK(free("0::/a/b\n") == 4000 * 1024);
  write(root / "mount/memory/x/memory.limit_in_bytes", "1000");
  write(root / "mount/memory/x/memory.usage_in_bytes", "400");
  T5G_CHECK(free("5:memory:/x\n4:cpu:/y\n") == 600);
  write(root / "mount/memory/x/memory.limit_in_bytes", "9223372036854771712");  // none, in version 1
  T5G_CHECK(free("5:memory:/x\n") == 4000 * 1024);
  for (const char* garbage : {"", "\n\n", ":", "::", "0:", "0::", "0::no", "0::/../a", "\xff:\xff:/"})
    T5G_CHECK(free(garbage) == 4000 * 1024);
  T5G_CHECK(t5g::free_memory() > 0);
  fs::remove_all(root);
}

void check_cgroups() {
  namespace fs = std::filesystem;
  const fs::path root = new_folder();
  const auto quota = [&](const char* membership) {
    write(root / "membership", membership);
    return t5g::cgroup_cpu_quota((root / "membership").string(), (root / "mount").string());
  };
  T5G_CHECK(t5g::cgroup_cpu_quota((root / "nothing").string(), (root / "nothing").string()) == 0);
  T5G_CHECK(quota("0::/a/b\n") == 0);

  write(root / "mount/a/cpu.max", "150000 100000\n");
  T5G_CHECK(quota("0::/a/b\n") == 1.5);  // of the group that contains it
  write(root / "mount/a/b/cpu.max", "max 100000\n");
  T5G_CHECK(quota("0::/a/b\n") == 1.5);
  write(root / "mount/cpu.max", "50000 100000\n");
  T5G_CHECK(quota("0::/a/b\n") == 0.5);
  T5G_CHECK(quota("0::/\n") == 0.5);
  T5G_CHECK(quota("0::/../a\n") == 0.5);
  for (const char* garbage : {"", "max", "\xff\xfe", "1e400 100000", "-5 100000", "100000 0", "100000", "nan nan"}) {
    write(root / "mount/cpu.max", garbage);
    T5G_CHECK(quota("0::/\n") == 0);
  }
  for (const char* garbage : {"", "\n\n", ":", "::", "0:", "0::", "0::no", "\xff:\xff:/"})
    T5G_CHECK(quota(garbage) == 0);

  write(root / "mount/cpu,cpuacct/x/cpu.cfs_quota_us", "300000");
  write(root / "mount/cpu,cpuacct/x/cpu.cfs_period_us", "100000");
  T5G_CHECK(quota("4:memory:/m\n3:cpu,cpuacct:/x/y\n0::/\n") == 3);
  write(root / "mount/cpu,cpuacct/x/cpu.cfs_quota_us", "-1");
  T5G_CHECK(quota("3:cpu,cpuacct:/x/y\n") == 0);
  write(root / "mount/cpu/cpu.cfs_quota_us", "200000");
  write(root / "mount/cpu/cpu.cfs_period_us", "100000");
  T5G_CHECK(quota("3:cpuacct,cpu:/unseen\n") == 2);
  fs::remove_all(root);
  T5G_CHECK(t5g::usable_core_count() >= 1);
}

}  // namespace

int main(int argc, char** argv) {
  const uint32_t stride = argc > 1 && std::string_view(argv[1]) == "--all" ? 1 : 509;
  check_format({5, 10}, t5g::half_to_float, t5g::float_to_half, stride);
  check_format({8, 7}, t5g::bfloat16_to_float, t5g::float_to_bfloat16, stride);
  check_text();
  check_free_memory();
  check_cgroups();
  T5G_CHECK(t5g::random_number() != t5g::random_number());
  std::puts("ok");
}
