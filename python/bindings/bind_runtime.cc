// Model: how it is opened and closed, what it is, its adapters and chat templates. Calls with sources are in
// bind_encoding.cc and bind_scoring.cc.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "bindings.h"
#include "config_dict.h"
#include "model_calls.h"
#include "requests.h"
#include "runtime/generation_defaults.h"
#include "text/chat.h"

namespace t5g::python {
namespace {

namespace py = pybind11;

std::shared_ptr<ModelHandle> open_model(const std::string& path, const std::string& device, int64_t n_threads,
                                        const std::string& encoder_window, const std::string& kv_type,
                                        const std::string& load, const std::string& source_cache,
                                        int64_t source_cache_budget, int64_t max_source_tokens,
                                        int64_t max_target_tokens) {
  ModelOptions options;
  options.max_source_tokens = max_source_tokens;
  options.max_target_tokens = max_target_tokens;
  options.source_cache = source_cache;
  options.source_cache_budget = source_cache_budget;
  options.kv_type = kv_type;
  options.device = device;
  options.n_threads = n_threads;
  if (encoder_window == "inclusive") {
    options.encoder_window = EncoderWindow::kInclusive;
  } else if (encoder_window != "exclusive") {
    throw InvalidArgument(Argument{"encoder_window"} + " is '" + encoder_window +
                          "', expected 'exclusive' or 'inclusive'.");
  }
  if (load == "copy") {
    options.load = LoadMode::kCopy;
  } else if (load != "map") {
    throw InvalidArgument(Argument{"load"} + " is '" + load + "', expected 'map' or 'copy'.");
  }
  const py::gil_scoped_release release;
  return std::make_shared<ModelHandle>(path, options);
}

// path: bytes, as os.fsencode() gives them.
void load_adapter(ModelHandle& handle, const py::bytes& path, const std::string& name, float scale) {
  const std::string copied = path;
  compute(handle, [&](Model& model, Interrupt* interrupt) { model.load_adapter(copied, name, scale, interrupt); });
}

std::vector<std::pair<std::string, float>> adapters(const Model& model) {
  std::vector<std::pair<std::string, float>> found;
  for (const AdapterStore::Entry& entry : model.adapters().entries()) found.emplace_back(entry.name, entry.scale);
  return found;
}

Ids chat_ids(ModelHandle& handle, const std::vector<std::pair<std::string, std::string>>& messages) {
  std::vector<ChatMessage> copied;
  for (const auto& [role, content] : messages) copied.push_back({role, content});
  return compute(handle, [&](const Model& model, Interrupt*) { return chat_prompt(*model.tokenizer(), copied); });
}

// Templates by name; the one that has none is called "default".
py::dict chat_templates(const Model& model) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  const GgufFile& file = model.file();
  py::dict templates;
  for (const GgufFile::Metadata& entry : file.metadata()) {
    if (!entry.key.starts_with(kKey) || entry.key == "tokenizer.chat_templates") continue;  // that lists the names
    const std::string_view name = entry.key.substr(kKey.size());
    if (!name.empty() && !name.starts_with('.')) continue;
    const std::string_view text = file.get_string(entry.key);
    if (!is_utf8(text)) file.fail_key(entry.key, "is not UTF-8. Convert the model again.");
    templates[py::str(name.empty() ? "default" : std::string(name.substr(1)))] = py::str(text.data(), text.size());
  }
  return templates;
}

// Names of the options that the file has, the options, and stop texts.
py::tuple generation_defaults(const Model& model) {
  GenerationDefaults defaults = load_generation_defaults(model.file());
  return py::make_tuple(std::move(defaults.names), std::move(defaults.config), std::move(defaults.stop));
}

py::dict memory_dict(const Model& model) {
  const MemoryNeeds needs = model.memory();
  py::dict d;
  d["weights_bytes"] = needs.weights_bytes;
  d["vision_weights_bytes"] = needs.vision_weights_bytes;
  d["image_workspace_bytes"] = needs.image_workspace_bytes;
  d["decode_weights_bytes"] = needs.decode_weights_bytes;
  d["workspace_bytes"] = needs.workspace_bytes;
  d["bytes_per_source_token"] = needs.bytes_per_source_token;
  d["bytes_per_target_token"] = needs.bytes_per_target_token;
  return d;
}

}  // namespace

void bind_runtime(py::module_& m) {
  using py::arg;
  bind_sources(m);
  ModelClass bound(m, "Model");
  bound
      .def(py::init(&open_model), arg("path"), py::kw_only(), arg("device"), arg("n_threads"), arg("encoder_window"),
           arg("kv_type"), arg("load"), arg("source_cache"), arg("source_cache_budget"), arg("max_source_tokens"),
           arg("max_target_tokens"))
      .def_property_readonly("max_source_tokens",
                             known([](const Model& model) { return model.config().encoder.max_tokens; }))
      .def_property_readonly("max_target_tokens",
                             known([](const Model& model) { return model.config().decoder.max_tokens; }))
      .def("close", &ModelHandle::close, py::call_guard<py::gil_scoped_release>(),
           "Ends the calls under way and frees the memory; all further calls raise.")
      .def_property_readonly("closed", &ModelHandle::is_closed)
      .def_property_readonly("config", known([](const Model& model) { return config_dict(model.config()); }))
      .def_property_readonly(
          "tokenizer", known([](const Model& model) { return std::const_pointer_cast<Tokenizer>(model.tokenizer()); }))
      .def_property_readonly("device", known([](const Model& model) { return model.device(); }))
      .def_property_readonly("n_threads", known([](const Model& model) { return model.n_threads(); }))
      .def_property_readonly("kv_type", known([](const Model& model) { return type_name(model.kv_type()); }))
      .def(
          "keeps_latent",
          [](ModelHandle& handle, int64_t n) {
            return known([n](const Model& model) { return model.keeps_latent(n); })(handle);
          },
          arg("n_tokens"), "Whether a source of so many tokens is kept as the encoder's output alone.")
      .def(
          "source_bytes",
          [](ModelHandle& handle, int64_t n) {
            const SourceBytes bytes = known([n](const Model& model) { return model.source_bytes(n); })(handle);
            return py::make_tuple(bytes.reading, bytes.writing);
          },
          arg("n_tokens"), "What a source of so many tokens needs while it is read, and while a target is written.")
      .def(
          "check_memory",
          [](ModelHandle& handle, int64_t n) {
            handle.use(nullptr, [&](const Model& model, Interrupt*) { model.check_memory(n); });
          },
          arg("n_tokens"), "Raises OutOfMemoryError where the machine has less free than that.")
      .def("memory", known(&memory_dict))
      .def("generation_defaults", known(&generation_defaults))
      .def("chat_templates", known(&chat_templates))
      .def("check_has_decoder", known([](const Model& model) { model.check_has_decoder(); }),
           "Raises UnsupportedError where the file is an encoder alone.")
      .def("load_adapter", &load_adapter, arg("path"), arg("name"), arg("scale"))
      .def(
          "unload_adapter",
          [](ModelHandle& handle, const std::string& name) {
            handle.use(nullptr, [&](Model& model, Interrupt*) { model.unload_adapter(name); });
          },
          arg("name"))
      .def("adapters", known(&adapters), "(name, scale) of those that are loaded.")
      .def("chat_prompt", &chat_ids, arg("messages"));
  bind_encoding(bound);
  bind_scoring(bound);
}

}  // namespace t5g::python
