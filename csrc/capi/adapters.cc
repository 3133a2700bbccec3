// Adapters: loaded beside a model, chosen when a source is read; the source remembers them for what follows.
#include "capi/adapters.h"

#include <cmath>
#include <string>

#include "capi/handles.h"
#include "capi/json.h"
#include "runtime/adapter.h"

namespace t5g::capi {
namespace {

constexpr size_t kMaxAdapters = 1 << 16;

std::string name_argument(const char* name, const char* what) {
  const std::string text(text_argument(&required(name, what), T5G_TO_ZERO, what));
  if (text.empty()) fail(what, "is empty.");
  return text;
}

}  // namespace

AdapterChoices adapters_argument(const t5g_encode_options& options) {
  if (options.n_adapters == T5G_ALL_ADAPTERS) return std::nullopt;
  if (options.n_adapters > kMaxAdapters)
    fail("n_adapters", "is " + std::to_string(options.n_adapters) + ", more than any model has.");
  if (options.n_adapters > 0) required(options.adapters, "adapters");
  AdapterChoices choices(std::in_place);
  for (size_t i = 0; i < options.n_adapters; ++i) {
    const t5g_adapter& given = options.adapters[i];
    const std::string name = "adapters[" + std::to_string(i) + "].name";
    choices->push_back({name_argument(given.name, name.c_str()), std::nullopt});
    if (given.has_scale == 0) continue;
    const float scale = choices->back().scale.emplace(static_cast<float>(given.scale));
    if (!std::isfinite(scale)) fail("adapters[" + std::to_string(i) + "].scale", "is no finite number.");
  }
  return choices;
}

}  // namespace t5g::capi

extern "C" {

using namespace t5g;
using namespace t5g::capi;

t5g_status t5g_model_load_adapter(t5g_model* model, const char* path, const char* name, double scale) {
  return guarded([&] {
    const t5g_model& it = checked(model, "model");
    const std::string file = path_argument(path), called = name_argument(name, "name");
    use(it, nullptr, [&](Model& m, Interrupt* stop) { m.load_adapter(file, called, static_cast<float>(scale), stop); });
  });
}

t5g_status t5g_model_unload_adapter(t5g_model* model, const char* name) {
  return guarded([&] {
    const t5g_model& it = checked(model, "model");
    const std::string called = name_argument(name, "name");
    use(it, nullptr, [&](Model& m, Interrupt*) { m.unload_adapter(called); });
  });
}

t5g_status t5g_model_get_adapters(const t5g_model* model, char** json) {
  return guarded([&] {
    required(json, "json") = nullptr;
    std::string out;
    known(checked(model, "model"), [&](const Model& it) {
      for (const AdapterStore::Entry& entry : it.adapters().entries())
        out += (out.empty() ? "" : ", ") + quoted(entry.name) + ": " + number(entry.scale);
    });
    out = "{" + out + "}";
    *json = static_cast<char*>(copy_out(out.data(), out.size()));
  });
}

}  // extern "C"
