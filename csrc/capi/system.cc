// What this library and machine can do.
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/thread_count.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/json.h"
#include "kernels/cpu/kernels.h"
#include "ops/backends.h"

namespace t5g::capi {
namespace {

std::string list(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + quoted(text);
  return "[" + out + "]";
}

std::string system_json() {
  std::vector<std::string> levels;
  for (const kernels::KernelTable* table : kernels::all_levels()) {
    if (kernels::runs_here(*table)) levels.emplace_back(table->name);
  }
  std::string devices;
  for (const DeviceState& device : device_states()) {
    const std::string state = (device.is_available ? "available: " : "") + device.description.text();
    devices += (devices.empty() ? "" : ", ") + quoted(device.name) + ": " + quoted(state);
  }
  return "{\"version\": " + quoted(T5G_VERSION) + ", \"kernels\": " + quoted(kernels::active().name) +
         ", \"kernels_available\": " + list(levels) + ", \"cpu_features\": " + list(cpu_feature_names(cpu_features())) +
         ", \"default_threads\": " + std::to_string(default_thread_count()) + ", \"devices\": {" + devices + "}}";
}

}  // namespace
}  // namespace t5g::capi

extern "C" {

using namespace t5g;
using namespace t5g::capi;

uint32_t t5g_abi_version(void) { return T5G_ABI_VERSION; }

const char* t5g_version(void) { return T5G_VERSION; }

t5g_status t5g_system_info(char** json) {
  return guarded([&] {
    required(json, "json") = nullptr;
    const std::string text = system_json();
    *json = static_cast<char*>(copy_out(text.data(), text.size()));
  });
}

t5g_status t5g_cancel_new(t5g_cancel** cancel) {
  return guarded([&] {
    required(cancel, "cancel") = nullptr;
    make_handle(cancel);
  });
}

t5g_status t5g_cancel_request(t5g_cancel* cancel) {
  return guarded([&] { checked(cancel, "cancel").requested.store(true); });
}

t5g_status t5g_cancel_reset(t5g_cancel* cancel) {
  return guarded([&] { checked(cancel, "cancel").requested.store(false); });
}

void t5g_cancel_free(t5g_cancel* cancel) { free_handle(cancel); }

}  // extern "C"
