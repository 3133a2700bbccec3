// What a model says of a given target: logits, log-probabilities, and where it looks in the source.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "bindings.h"
#include "model_calls.h"
#include "requests.h"
#include "runtime/encoded_source.h"
#include "runtime/scoring.h"

namespace t5g::python {
namespace {

namespace py = pybind11;

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

}  // namespace

void bind_scoring(ModelClass& bound) {
  using py::arg;
  bound.def("logits", &logits, arg("source"), arg("target_ids"))
      .def("score", &score, arg("source"), arg("target_ids"))
      .def("score_batch", &score_batch, arg("sources"), arg("targets"), arg("max_batch_size"))
      .def("attention", &attention, arg("source"), arg("ids"), arg("first"),
           "Where the decoder looked in the source at ids[first] and after: [len(ids) - first, n_tokens].");
}

}  // namespace t5g::python
