// EncodedSource, and what a model does with sources: reads them, keeps them, and checks that they are its own.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "model_calls.h"
#include "progress.h"
#include "requests.h"
#include "runtime/encoded_source.h"
#include "runtime/reading_progress.h"
#include "token_ids.h"

namespace t5g::python {
namespace {

namespace py = pybind11;

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

}  // namespace

void bind_sources(py::module_& m) {
  using py::arg;
  py::class_<EncodedSource, std::shared_ptr<EncodedSource>>(m, "EncodedSource")
      .def_property_readonly("hidden_states", &hidden_states)
      .def_property_readonly(
          "type", [](const EncodedSource& source) { return type_name(source.hidden_states().type()); },
          "How the states are kept.")
      .def_property_readonly("token_ids", &EncodedSource::ids)
      .def_property_readonly("n_tokens", [](const EncodedSource& source) { return source.ids().size(); })
      .def_property_readonly("n_truncated", &EncodedSource::n_truncated)
      .def_property_readonly(
          "layer", [](const EncodedSource& source) { return source.origin().layer; },
          "After how many layers the states were taken; -1 for the final ones.")
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
}

void bind_encoding(ModelClass& bound) {
  using py::arg;
  bound
      .def("encode", &encode, arg("ids"), arg("images") = std::vector<Pixels>{}, arg("adapters") = std::nullopt,
           py::kw_only(), arg("n_padding") = 0, arg("layer") = -1, arg("stop") = py::none(),
           arg("progress") = py::none(), arg("n_truncated") = 0, "None when the flag was set before the end.")
      .def("prepare", &prepare, arg("source"), arg("stop") = py::none(),
           "What the decoder needs of a source, so that generation begins at once; False when the flag was set first.")
      .def("token_ids", &checked_ids, arg("name"), arg("ids"), arg("side"),
           "The ids as a list of int; errors call them by this name. side: \"source\" or \"target\".")
      .def("check_source", &check_source, arg("source"), arg("name"), "Whether the model can read from it.")
      .def("load_source", &load_source, arg("path"))
      .def("encode_batch", &encode_batch, arg("sources"), arg("layer"),
           "Several sources in one pass, each (ids, images, adapters).")
      .def("check_adapters", &check_adapters, arg("source"), arg("adapters"), arg("name"),
           "Whether the source was made with the adapters that are asked for.");
}

}  // namespace t5g::python
