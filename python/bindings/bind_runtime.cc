// Model and EncodedSource. Every call that computes releases the GIL; Ctrl-C is noticed while it runs.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "bindings.h"
#include "config_dict.h"
#include "interrupt.h"
#include "progress.h"
#include "requests.h"
#include "runtime/encoded_source.h"
#include "runtime/generation_defaults.h"
#include "runtime/model_handle.h"
#include "runtime/reading_progress.h"
#include "runtime/scoring.h"
#include "text/chat.h"
#include "token_ids.h"

namespace t5g::python {
namespace {

namespace py = pybind11;

// ---- Model --------------------------------------------------------------------------------------------------------

// Asks the model for something that it knows.
template <class Ask>
auto known(Ask ask) {
  return [ask](ModelHandle& handle) {
    return handle.use(nullptr, [&](const Model& model, Interrupt*) { return ask(model); });
  };
}

// Calls body(Model&, Interrupt*) without the GIL, with the interrupt that Ctrl-C and close() stop.
template <class Body>
auto compute(ModelHandle& handle, Body&& body) {
  PythonInterrupt interrupt;
  const py::gil_scoped_release release;
  return handle.use(&interrupt, body);
}

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

// pybind11 holders are pointers to non-const; sources are immutable all the same.
std::shared_ptr<EncodedSource> as_holder(std::shared_ptr<const EncodedSource> source) {
  return std::const_pointer_cast<EncodedSource>(std::move(source));
}

// For the side that the ids are for, "source" or "target".
Ids checked_ids(ModelHandle& handle, const std::string& name, const py::object& ids, const std::string& side) {
  const TextConfig text = known([&](const Model& model) {
    if (side == "source") return model.config().encoder;
    model.check_has_decoder();
    return model.config().decoder;
  })(handle);
  Ids checked = token_ids(name, ids, text.vocab_size);  // may run any Python code
  Model::check_ids(name, checked, text);
  return checked;
}

void check_source(ModelHandle& handle, const EncodedSource& source, const std::string& name) {
  handle.use(nullptr, [&](const Model& model, Interrupt*) { model.check_source(source, name); });
}

// What ends a call from another thread: set once.
struct StopFlag {
  std::atomic<bool> flag{false};
};

// As compute(), for a body that returns a pointer: null when `stop`, which may be null, was set before the end.
template <class Body>
auto compute_unless(const StopFlag* stop, ModelHandle& handle, Body&& body) {
  if (stop == nullptr) return compute(handle, body);
  PythonInterrupt outer;
  const py::gil_scoped_release release;
  FlagInterrupt interrupt(stop->flag, &outer);
  using Result = decltype(handle.use(&interrupt, body));
  try {
    return handle.use(&interrupt, body);
  } catch (const Cancelled&) {
    if (interrupt.by_outer() || !stop->flag.load()) throw;
    return Result();
  }
}

struct CopiedUnread {
  Ids ids;
  std::vector<std::vector<uint8_t>> images;
  AdapterChoices adapters;
};

Model::Unread read_images(Model& model, CopiedUnread& source, Interrupt* interrupt, SourceProgress* reading = nullptr) {
  Model::check_ids("source", source.ids, model.config().encoder);
  model.check_images(source.ids, source.images.size());
  Model::Unread unread{std::move(source.ids), {}, model.adapters().choose(source.adapters)};
  for (const auto& image : source.images)
    unread.images.push_back(
        model.encode_image(image, interrupt, unread.adapters, reading != nullptr ? reading->next() : nullptr));
  return unread;
}

// layer: after how many layers, or -1 for the final hidden states.
std::shared_ptr<EncodedSource> encode(ModelHandle& handle, Ids ids, const std::vector<Pixels>& images,
                                      const Choices& adapters, int64_t n_padding, int layer, const StopFlag* stop,
                                      const py::object& progress, int64_t n_truncated) {
  std::optional<PythonProgress> told;
  if (!progress.is_none()) told.emplace(progress);
  CopiedUnread source{std::move(ids), copy_pixels(images), as_choices(adapters)};
  return compute_unless(stop, handle, [&](Model& model, Interrupt* interrupt) {
    SourceProgress reading(model.config(), std::ssize(source.ids), source.images.size(), told ? &*told : nullptr);
    Model::Unread unread = read_images(model, source, interrupt, &reading);
    unread.n_padding = n_padding;
    unread.n_truncated = n_truncated;
    return as_holder(model.encode({std::move(unread)}, layer, interrupt, reading.next()).front());
  });
}

std::vector<std::shared_ptr<EncodedSource>> encode_batch(ModelHandle& handle, const std::vector<Unread>& sources,
                                                         int layer) {
  std::vector<CopiedUnread> copied;
  for (const auto& [ids, images, adapters] : sources)
    copied.push_back({ids, copy_pixels(images), as_choices(adapters)});
  std::vector<std::shared_ptr<EncodedSource>> encoded;
  compute(handle, [&](Model& model, Interrupt* interrupt) {
    std::vector<Model::Unread> unread;
    for (CopiedUnread& source : copied) unread.push_back(read_images(model, source, interrupt));
    for (auto& source : model.encode(std::move(unread), layer, interrupt)) encoded.push_back(as_holder(source));
  });
  return encoded;
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

void check_adapters(ModelHandle& handle, const EncodedSource& source, const Choices& adapters,
                    const std::string& name) {
  handle.use(nullptr,
             [&](const Model& model, Interrupt*) { model.check_adapters(source, as_choices(adapters), name); });
}

bool prepare(ModelHandle& handle, const EncodedSource& source, const StopFlag* stop) {
  return compute_unless(stop, handle, [&](Model& model, Interrupt* interrupt) {
           return model.project_and_keep(source, interrupt);
         }) != nullptr;
}

std::shared_ptr<EncodedSource> load_source(ModelHandle& handle, const std::string& path) {
  return compute(handle, [&](const Model& model, Interrupt*) { return as_holder(model.load_source(path)); });
}

// path: bytes, as os.fsencode() gives them.
void save_source(const EncodedSource& source, const py::bytes& path) {
  const std::string copied = path;
  const py::gil_scoped_release release;
  source.save(copied);
}

// The states themselves where they are floats, and else a copy as floats.
py::array_t<float> hidden_states(const std::shared_ptr<EncodedSource>& source) {
  const StateRows& states = source->padded_hidden_states();
  const std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(states.rows()),
                                       static_cast<py::ssize_t>(states.cols())};
  py::array_t<float> array = states.type() == DataType::kF32
                                 ? py::array_t<float>(shape, states.floats().data(), py::cast(source))
                                 : py::array_t<float>(shape);
  if (states.type() != DataType::kF32) {
    float* out = array.mutable_data();
    const py::gil_scoped_release release;
    states.read(0, states.rows(), out);
  }
  array.attr("flags").attr("writeable") = false;
  return array;
}

// A fresh sequence fed with all of `ids`, and one question about what follows each of them.
void teacher_force(Model& model, const EncodedSource& source, std::span<const int32_t> ids, std::span<Selection> wanted,
                   Interrupt* interrupt) {
  const std::shared_ptr<const SourceCache> projected = model.project_and_keep(source, interrupt);
  KvCache cache = model.new_cache();
  model.decode_all({projected.get(), &cache, ids, wanted}, interrupt);
}

py::array_t<float> logits(ModelHandle& handle, const EncodedSource& source, const Ids& ids) {
  const auto vocab = known([&](const Model& model) {
    Model::check_ids("target", ids, model.config().decoder);
    return static_cast<size_t>(model.config().vocab_size);
  })(handle);
  py::array_t<float> array({ids.size(), vocab});
  float* out = array.mutable_data();
  compute(handle, [&](Model& model, Interrupt* interrupt) {
    std::vector<Selection> wanted(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) wanted[i].all = {out + i * vocab, vocab};
    teacher_force(model, source, ids, wanted, interrupt);
  });
  return array;
}

py::array_t<float> score(ModelHandle& handle, const EncodedSource& source, const Ids& target) {
  py::array_t<float> array(static_cast<py::ssize_t>(target.size()));
  float* out = array.mutable_data();
  compute(handle, [&](Model& model, Interrupt* interrupt) {
    Model::check_ids("target", target, model.config().decoder);
    if (target.empty()) return;
    Ids ids{model.config().decoder_start_token_id};
    ids.insert(ids.end(), target.begin(), target.end() - 1);  // nothing is asked about what follows the last token
    std::vector<Selection> wanted(target.size());
    for (size_t i = 0; i < target.size(); ++i) {
      wanted[i].ids = {target[i]};
      wanted[i].log_sum_exp = LogSumExp::kYes;
    }
    teacher_force(model, source, ids, wanted, interrupt);
    for (size_t i = 0; i < target.size(); ++i) out[i] = wanted[i].values[0] - wanted[i].found_log_sum_exp.value();
  });
  return array;
}

// sources: as of a generator; targets: ids without the start token.
std::vector<py::array_t<float>> score_batch(ModelHandle& handle, const py::list& sources, std::vector<Ids> targets,
                                            int64_t max_batch) {
  std::vector<ScoringRequest> requests;
  for (size_t i = 0; i < targets.size(); ++i) {
    GenerationRequest read = as_request(sources[i], {});
    requests.push_back({read.source, std::move(read.source_ids), std::move(read.images), std::move(read.adapters),
                        std::move(targets[i])});
  }
  const std::vector<std::vector<float>> scores =
      compute(handle, [&](Model& model, Interrupt* stop) { return score_targets(model, requests, max_batch, stop); });
  std::vector<py::array_t<float>> arrays;
  for (const std::vector<float>& of_target : scores)
    arrays.emplace_back(static_cast<py::ssize_t>(of_target.size()), of_target.data());
  return arrays;
}

// The rows of ids[first], ids[first + 1] ...; see Model::attention.
py::array_t<float> attention(ModelHandle& handle, const EncodedSource& source, const Ids& ids, size_t first) {
  const std::vector<float> weights = compute(handle, [&](Model& model, Interrupt* interrupt) {
    Model::check_ids("target", ids, model.config().decoder);
    return model.attention(source, ids, first, interrupt);
  });
  return py::array_t<float>({ids.size() - first, source.ids().size()}, weights.data());
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
  py::class_<EncodedSource, std::shared_ptr<EncodedSource>>(m, "EncodedSource")
      .def_property_readonly("hidden_states", &hidden_states)
      .def_property_readonly(
          "type", [](const EncodedSource& source) { return type_name(source.hidden_states().type()); },
          "How the states are kept.")
      .def_property_readonly("token_ids", &EncodedSource::ids)
      .def_property_readonly("n_tokens", [](const EncodedSource& source) { return source.ids().size(); })
      .def_property_readonly("n_truncated", &EncodedSource::n_truncated)
      .def_property_readonly("adapters",
                             [](const EncodedSource& source) {
                               std::vector<std::pair<std::string, float>> found;
                               for (const AdapterUse& use : source.origin().adapters)
                                 found.emplace_back(use.name, use.scale);
                               return found;
                             })
      .def("save", &save_source, arg("path"));

  py::class_<StopFlag>(m, "StopFlag", "Ends calls that were given it, from any thread.")
      .def(py::init<>())
      .def("set", [](StopFlag& stop) { stop.flag.store(true); })
      .def_property_readonly("is_set", [](const StopFlag& stop) { return stop.flag.load(); });

  py::class_<ModelHandle, std::shared_ptr<ModelHandle>>(m, "Model")
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
      .def("encode", &encode, arg("ids"), arg("images") = std::vector<Pixels>{}, arg("adapters") = std::nullopt,
           py::kw_only(), arg("n_padding") = 0, arg("layer") = -1, arg("stop") = py::none(),
           arg("progress") = py::none(), arg("n_truncated") = 0, "None when the flag was set before the end.")
      .def("prepare", &prepare, arg("source"), arg("stop") = py::none(),
           "What the decoder needs of a source, so that generation begins at once; False when the flag was set first.")
      .def("token_ids", &checked_ids, arg("name"), arg("ids"), arg("side"),
           "The ids as a list of int; errors call them by this name. side: \"source\" or \"target\".")
      .def("check_has_decoder", known([](const Model& model) { model.check_has_decoder(); }),
           "Raises UnsupportedError where the file is an encoder alone.")
      .def("check_source", &check_source, arg("source"), arg("name"), "Whether the model can read from it.")
      .def("load_source", &load_source, arg("path"))
      .def("encode_batch", &encode_batch, arg("sources"), arg("layer"),
           "Several sources in one pass, each (ids, images, adapters).")
      .def("load_adapter", &load_adapter, arg("path"), arg("name"), arg("scale"))
      .def(
          "unload_adapter",
          [](ModelHandle& handle, const std::string& name) {
            handle.use(nullptr, [&](Model& model, Interrupt*) { model.unload_adapter(name); });
          },
          arg("name"))
      .def("adapters", known(&adapters), "(name, scale) of those that are loaded.")
      .def("check_adapters", &check_adapters, arg("source"), arg("adapters"), arg("name"),
           "Whether the source was made with the adapters that are asked for.")
      .def("logits", &logits, arg("source"), arg("target_ids"))
      .def("score", &score, arg("source"), arg("target_ids"))
      .def("score_batch", &score_batch, arg("sources"), arg("targets"), arg("max_batch_size"))
      .def("attention", &attention, arg("source"), arg("ids"), arg("first"),
           "Where the decoder looked in the source at ids[first] and after: [len(ids) - first, n_tokens].")
      .def("chat_prompt", &chat_ids, arg("messages"));
}

}  // namespace t5g::python
