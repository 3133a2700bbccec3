// Model, EncodedSource and Generator. Every call that computes releases the GIL; Ctrl-C is noticed while it runs.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "bindings.h"
#include "interrupt.h"
#include "progress.h"
#include "runtime/encoded_source.h"
#include "runtime/generation_defaults.h"
#include "runtime/generator.h"
#include "runtime/kept_logprob.h"
#include "runtime/model_handle.h"
#include "runtime/scoring.h"
#include "text/chat.h"
#include "token_ids.h"

namespace t5g::python {
namespace {

namespace py = pybind11;
using Ids = std::vector<int32_t>;

// ---- Config -------------------------------------------------------------------------------------------------------

py::object none_if(bool missing, const py::object& value) { return missing ? py::none() : value; }

py::dict rope_dict(const RopeParameters& rope) {
  py::dict d;
  d["rope_theta"] = rope.rope_theta;
  d["factor"] = rope.factor;
  return d;
}

py::dict side_dict(const TextConfig& c) {
  py::list layer_types;
  for (const LayerType type : c.layer_types)
    layer_types.append(type == LayerType::kFullAttention ? "full_attention" : "sliding_attention");
  py::dict d;
  d["vocab_size"] = c.vocab_size;
  d["hidden_size"] = c.hidden_size;
  d["intermediate_size"] = c.intermediate_size;
  d["num_hidden_layers"] = c.num_hidden_layers;
  d["num_attention_heads"] = c.num_attention_heads;
  d["num_key_value_heads"] = c.num_key_value_heads;
  d["head_dim"] = c.head_dim;
  d["query_pre_attn_scalar"] = c.query_pre_attn_scalar;
  d["rms_norm_eps"] = c.rms_norm_eps;
  d["attn_logit_softcapping"] = none_if(c.attn_logit_softcapping == 0, py::cast(c.attn_logit_softcapping));
  d["final_logit_softcapping"] = none_if(c.final_logit_softcapping == 0, py::cast(c.final_logit_softcapping));
  d["sliding_window"] = c.sliding_window;
  d["max_position_embeddings"] = c.max_position_embeddings;
  d["layer_types"] = py::tuple(layer_types);
  d["rope_full_attention"] = rope_dict(c.rope_full);
  d["rope_sliding_attention"] = rope_dict(c.rope_sliding);
  return d;
}

py::dict vision_dict(const VisionConfig& c) {
  py::dict d;
  d["hidden_size"] = c.hidden_size;
  d["intermediate_size"] = c.intermediate_size;
  d["num_hidden_layers"] = c.num_hidden_layers;
  d["num_attention_heads"] = c.num_attention_heads;
  d["image_size"] = c.image_size;
  d["patch_size"] = c.patch_size;
  d["layer_norm_eps"] = c.layer_norm_eps;
  d["mm_tokens_per_image"] = c.mm_tokens_per_image;
  return d;
}

py::dict config_dict(const Config& c) {
  const auto id = [](int32_t value) { return none_if(value < 0, py::cast(value)); };
  py::dict d;
  d["architecture"] = c.architecture == Architecture::kT5Gemma ? "t5gemma" : "t5gemma2";
  d["name"] = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(c.name.data(), static_cast<Py_ssize_t>(c.name.size()), "replace"));
  d["vocab_size"] = c.vocab_size;
  d["encoder"] = side_dict(c.encoder);
  d["decoder"] = c.has_decoder ? py::object(side_dict(c.decoder)) : py::none();
  d["vision"] = c.vision ? py::object(vision_dict(*c.vision)) : py::none();
  d["decoder_start_token_id"] = none_if(!c.has_decoder, py::cast(c.decoder_start_token_id));
  d["eos_token_id"] = py::tuple(py::cast(c.eos_token_ids));
  d["image_token_index"] = id(c.image_token_id);
  d["boi_token_index"] = id(c.boi_token_id);
  d["eoi_token_index"] = id(c.eoi_token_id);
  return d;
}

// ---- Model --------------------------------------------------------------------------------------------------------

// Asks the model for something that it knows.
template <class Ask>
auto known(Ask ask) {
  return [ask](ModelHandle& handle) {
    return handle.use(nullptr, [&](const Model& model, Interrupt*) { return ask(model); });
  };
}

// For what may have to wait for another thread.
template <class Body>
auto without_gil(Body&& body) {
  const py::gil_scoped_release release;
  return body();
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
    throw InvalidArgument("encoder_window is '" + encoder_window + "', expected 'exclusive' or 'inclusive'.");
  }
  if (load == "copy") {
    options.load = LoadMode::kCopy;
  } else if (load != "map") {
    throw InvalidArgument("load is '" + load + "', expected 'map' or 'copy'.");
  }
  const py::gil_scoped_release release;
  return std::make_shared<ModelHandle>(path, options);
}

// pybind11 holders are pointers to non-const; sources are immutable all the same.
std::shared_ptr<EncodedSource> as_holder(std::shared_ptr<const EncodedSource> source) {
  return std::const_pointer_cast<EncodedSource>(std::move(source));
}

// (name, scale or None) of each adapter, as t5g.adapters makes them; None: the call's default.
using Choices = std::optional<std::vector<std::pair<std::string, std::optional<float>>>>;

AdapterChoices as_choices(const Choices& given) {
  if (!given) return std::nullopt;
  std::vector<AdapterChoice> choices;
  for (const auto& [name, scale] : *given) choices.push_back({name, scale});
  return choices;
}

// 8-bit pixels [S, S, 3], as t5g.images makes them.
using Pixels = py::array_t<uint8_t, py::array::c_style>;

std::vector<std::vector<uint8_t>> copy_pixels(const std::vector<Pixels>& images) {
  std::vector<std::vector<uint8_t>> copies;
  for (const Pixels& pixels : images) copies.emplace_back(pixels.data(), pixels.data() + pixels.size());
  return copies;
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

// A source to encode: its ids, images and adapters.
using Unread = std::tuple<Ids, std::vector<Pixels>, Choices>;

struct CopiedUnread {
  Ids ids;
  std::vector<std::vector<uint8_t>> images;
  AdapterChoices adapters;
};

Model::Unread read_images(Model& model, CopiedUnread& source, Interrupt* interrupt) {
  Model::check_ids("source", source.ids, model.config().encoder);
  model.check_images(source.ids, source.images.size());
  Model::Unread unread{std::move(source.ids), {}, model.adapters().choose(source.adapters)};
  for (const auto& image : source.images)
    unread.images.push_back(model.encode_image(image, interrupt, unread.adapters));
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
    Model::Unread unread = read_images(model, source, interrupt);
    unread.n_padding = n_padding;
    unread.n_truncated = n_truncated;
    return as_holder(model.encode({std::move(unread)}, layer, interrupt, told ? &*told : nullptr).front());
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

// From an encoded source, or from its token ids and images. Ids say themselves if tokens were cut from them.
GenerationRequest as_request(const py::handle& source, const Ids& prefix) {
  GenerationRequest request;
  if (py::isinstance<EncodedSource>(source)) {
    request.source = source.cast<std::shared_ptr<EncodedSource>>();
  } else {
    const auto [ids, images, adapters] = source.cast<std::tuple<py::object, std::vector<Pixels>, Choices>>();
    request.source_ids = ids.cast<Ids>();
    request.n_truncated = py::getattr(ids, "n_truncated", py::int_(0)).cast<int64_t>();
    request.images = copy_pixels(images);
    request.adapters = as_choices(adapters);
  }
  request.decoder_prefix = prefix;
  return request;
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

// ---- Generator ----------------------------------------------------------------------------------------------------

std::unique_ptr<Generator> make_generator(std::shared_ptr<ModelHandle> model, const py::list& requests,
                                          const Ids& prefix, const TextOptions& text, int64_t max_batch,
                                          const GenerationConfig& config) {
  std::vector<GenerationRequest> list;
  for (const py::handle item : requests) list.push_back(as_request(item, prefix));
  return std::make_unique<Generator>(std::move(model), std::move(list), config, text, max_batch);
}

// config, text: both, or neither for the generator's own.
size_t add_request(Generator& generator, const py::object& source, const Ids& prefix, const GenerationConfig* config,
                   const TextOptions* text, bool streams) {
  GenerationRequest request = as_request(source, prefix);
  if (config != nullptr && text != nullptr)
    request.options = std::make_shared<const RequestOptions>(RequestOptions{*config, *text});
  request.streams = streams;
  return without_gil([&] { return generator.add(std::move(request)); });
}

bool step(Generator& generator) {
  PythonInterrupt interrupt;
  const py::gil_scoped_release release;
  return generator.step(&interrupt);
}

std::optional<std::string> next_text(Generator& generator) {
  PythonInterrupt interrupt;
  const py::gil_scoped_release release;
  return generator.next_text(&interrupt);
}

double logprob_sum(KeptLogprob& kept) {
  PythonInterrupt interrupt;
  const py::gil_scoped_release release;
  return kept.sum(&interrupt);
}

std::vector<float> logprob_each(KeptLogprob& kept) {
  PythonInterrupt interrupt;
  const py::gil_scoped_release release;
  return kept.each(&interrupt);
}

const char* reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kTimeout:
      return "timeout";
    default:
      return "cancelled";
  }
}

// {id: log-probability}, likeliest first, of each token.
py::dict top_dict(const std::vector<ScoredToken>& top) {
  py::dict d;
  for (const ScoredToken& token : top) d[py::int_(token.id)] = token.value;
  return d;
}

py::list top_dicts(const std::vector<std::vector<ScoredToken>>& of_tokens) {
  py::list dicts;
  for (const std::vector<ScoredToken>& top : of_tokens) dicts.append(top_dict(top));
  return dicts;
}

py::dict result_dict(GenerationResult& result) {
  py::list sequences;
  for (GeneratedSequence& sequence : result.sequences) {
    py::dict d;
    d["text"] = std::move(sequence.text);
    d["token_ids"] = std::move(sequence.token_ids);
    d["finish_reason"] = reason_name(sequence.finish_reason);
    const bool kept = sequence.kept_logprob != nullptr;
    d["logprob"] = kept ? py::cast(sequence.kept_logprob) : py::float_(sequence.logprob);
    d["token_logprobs"] = kept ? py::cast(sequence.kept_logprob) : py::cast(sequence.token_logprobs);
    d["top_logprobs"] = sequence.top_logprobs.empty() ? py::none() : py::object(top_dicts(sequence.top_logprobs));
    d["score"] = sequence.score;
    sequences.append(d);
  }
  py::dict timings;
  timings["image_seconds"] = result.image_seconds;
  timings["encode_seconds"] = result.encode_seconds;
  timings["decode_seconds"] = result.decode_seconds;
  timings["n_source_tokens"] = result.n_source_tokens;
  timings["n_new_tokens"] = result.n_new_tokens;
  py::dict d;
  d["sequences"] = sequences;
  d["timings"] = timings;
  d["n_truncated"] = result.n_truncated;
  return d;
}

py::list result_dicts(std::vector<GenerationResult> results) {
  py::list dicts;
  for (GenerationResult& result : results) dicts.append(result_dict(result));
  return dicts;
}

py::list take_results(Generator& generator) {
  return result_dicts(without_gil([&] { return generator.take_results(); }));
}

std::optional<py::list> results(const Generator& generator) {
  auto results = without_gil([&] { return generator.results(); });
  return results ? std::optional(result_dicts(std::move(*results))) : std::nullopt;
}

// What has ended a request; Python sees it as the exception that it is when it is raised.
struct RequestError {
  std::exception_ptr error;
};

py::list take_finished(Generator& generator) {
  py::list results;
  for (FinishedGeneration& finished : without_gil([&] { return generator.take_finished(); })) {
    py::object result = finished.error ? py::cast(RequestError{finished.error}) : result_dict(finished.result);
    results.append(py::make_tuple(finished.number, std::move(result)));
  }
  return results;
}

py::list take_texts(Generator& generator) {
  py::list texts;
  for (const FreshText& fresh : without_gil([&] { return generator.take_texts(); })) {
    py::list tokens;
    for (const FreshToken& token : fresh.tokens)
      tokens.append(py::make_tuple(token.id, token.logprob, top_dict(token.top)));
    texts.append(py::make_tuple(fresh.number, fresh.sequence, fresh.text, std::move(tokens)));
  }
  return texts;
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

  py::class_<KeptLogprob, std::shared_ptr<KeptLogprob>>(m, "KeptLogprob",
                                                        "Log-probabilities that are computed when they are asked for.")
      .def("sum", &logprob_sum)
      .def("each", &logprob_each);

  py::class_<RequestError>(m, "RequestError", "What has ended one request of a generator.")
      .def("throw", [](const RequestError& error) { std::rethrow_exception(error.error); }, "Raises it.");

  py::class_<TextOptions>(m, "TextOptions", "How generated tokens become text.")
      .def(py::init<std::vector<std::string>, bool>(), arg("stop"), arg("skip_special_tokens"));

  py::class_<Generator>(m, "Generator", "Generation for any number of sources; see t5g.Model.")
      .def(py::init(&make_generator), arg("model"), arg("requests"), arg("decoder_prefix"), arg("text"),
           arg("max_batch_size"), arg("config"))
      .def(
          "set_progress",
          [](Generator& generator, py::object progress) {
            auto told = std::make_shared<PythonProgress>(std::move(progress));
            without_gil([&] { generator.set_progress(std::move(told)); });
          },
          arg("progress"), "Calls progress(done, total) while sources are read.")
      .def("step", &step, "One step of every running sequence; False when there is nothing left to do.")
      .def("add", &add_request, arg("source"), arg("decoder_prefix"), arg("config") = py::none(),
           arg("text") = py::none(), arg("streams") = false,
           "One source more, behind those that wait, with options of its own or the generator's; gives its number.")
      .def("keep_errors", &Generator::keep_errors,
           "An error of one source is its result, a RequestError, and the others go on.")
      .def("cancel_one", py::overload_cast<size_t>(&Generator::cancel), arg("number"),
           py::call_guard<py::gil_scoped_release>(), "One source ends as cancelled; nothing, if it is done.")
      .def(
          "take_texts", &take_texts,
          "(number, sequence, text, tokens) of what sources that stream have written since the last call. tokens: "
          "where "
          "log-probabilities are asked for, (id, logprob, {id: logprob} of the likeliest) of each since the last text.")
      .def_property_readonly(
          "has_room", [](const Generator& generator) { return without_gil([&] { return generator.has_room(); }); },
          "Whether a source that is added now runs in the next step.")
      .def("next_text", &next_text, "The next text of the first sequence that is certain; None at the end.")
      .def("cancel", py::overload_cast<>(&Generator::cancel))
      .def("close", &Generator::close, py::call_guard<py::gil_scoped_release>())
      .def("take_finished", &take_finished, "(number, result or RequestError) of what has ended since the last call.")
      .def("take_results", &take_results)
      .def("results", &results, "Copies of what take_results gives; None while there is something left to do.");
}

}  // namespace t5g::python
