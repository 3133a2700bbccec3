// The table of devices, and how one is chosen.
#include "ops/backends.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/printable.h"

namespace t5g {
namespace {

struct Row {
  const char* name;
  Backend (*make)(int index, int n_threads);
  std::string (*describe)(int index);
  int (*count)();
  bool is_accelerator;  // "auto" tries it
  bool is_numbered;     // there can be several
};

int one() { return 1; }

// The order in which "auto" tries them.
constexpr Row kDevices[] = {
    {"cuda", make_cuda_backend, describe_cuda, count_cuda, true, true},
    {"metal", make_metal_backend, describe_metal, one, true, false},
    {"cpu", make_cpu_backend, describe_cpu, one, false, false},
    {"emulated", make_emulated_backend, describe_emulated, one, false, false},
#ifdef T5G_TEST_DEVICE
    {"deferred", make_deferred_backend, describe_deferred, one, false, false},
#endif
};

std::string names() {
  std::string list = "'auto'";
  for (const Row& row : kDevices)
    list += std::string(", '") + row.name + "'" + (row.is_numbered ? ", 'cuda:0' ..." : "");
  return list;
}

// what: the argument, or the variable that the name comes from.
Backend make_named(const Message& what, const std::string& name, int n_threads) {
  const size_t colon = name.find(':');
  const std::string_view base = std::string_view(name).substr(0, colon);
  int index = 0;
  bool good = true;
  if (colon != std::string::npos) {
    const char *begin = name.data() + colon + 1, *end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(begin, end, index);
    good = begin != end && stop == end && error == std::errc() && index >= 0;
  }
  for (const Row& row : kDevices) {
    if (good && base == row.name && (row.is_numbered || colon == std::string::npos)) return row.make(index, n_threads);
  }
  throw InvalidArgument(what + " is '" + printable(name) + "', expected one of " + names() + ".");
}

// What the user has not asked for in the call is told by the name of the variable that asks.
Backend make_of_environment(const std::string& name, int n_threads) {
  const std::string where = "T5G_DEVICE is '" + printable(name) + "': ";
  const std::string remedy = " Or change T5G_DEVICE.";
  try {
    return make_named("T5G_DEVICE", name, n_threads);
  } catch (const Unsupported& error) {
    throw Unsupported(where + error.message() + remedy);
  } catch (const DeviceError& error) {
    throw DeviceError(where + error.message() + remedy);
  }
}

}  // namespace

Backend make_backend(const std::string& name, int n_threads) {
  if (name != "auto") return make_named(Argument{"device"}, name, n_threads);
  const char* wanted = std::getenv("T5G_DEVICE");
  if (wanted != nullptr && *wanted != '\0' && std::string_view(wanted) != "auto")
    return make_of_environment(wanted, n_threads);
  for (const Row& row : kDevices) {
    for (int index = 0; row.is_accelerator && index < row.count(); ++index) {
      try {
        return row.make(index, n_threads);
      } catch (const Unsupported&) {
        continue;
      } catch (const DeviceError&) {  // there, and of no use: others have taken all of its memory
        continue;
      }
    }
  }
  return make_cpu_backend(0, n_threads);
}

std::vector<DeviceState> device_states() {
  std::vector<DeviceState> states;
  for (const Row& row : kDevices) {
    const int n = std::max(row.count(), 1);  // the first says why there is none
    for (int index = 0; index < n; ++index) {
      const std::string name = index == 0 ? row.name : row.name + (":" + std::to_string(index));
      try {
        states.push_back({name, true, row.describe(index)});
      } catch (const Unsupported& error) {
        states.push_back({name, false, error.message()});
      }
    }
  }
  return states;
}

}  // namespace t5g
