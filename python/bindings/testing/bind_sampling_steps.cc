// t5g._testing.sampling: the steps from a row of logits to a token, one by one, on logits from NumPy.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "exclusive.h"
#include "kernels/cpu/kernels.h"
#include "ops/selection.h"
#include "sampling/beam_search.h"
#include "sampling/generation_config.h"
#include "sampling/sampler.h"
#include "sampling/stop_matcher.h"
#include "testing/testing.h"

namespace t5g::python {
namespace {

namespace py = pybind11;
using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Ids = std::vector<int32_t>;

// A copy, because the steps work in place and the caller's array is not theirs.
std::vector<float> copy(const FloatArray& logits) { return {logits.data(), logits.data() + logits.size()}; }

// What a Python function says may follow: generated ids -> allowed ids, or None for all. As a mask where it is asked
// for one, so that both ways are tested.
struct Mask {
  std::optional<py::function> function;
  bool as_mask = false;

  Allowed operator()(std::span<const int32_t> generated, size_t vocab_size) const {
    Allowed allowed;
    if (!function) return allowed;
    const py::object answer = (*function)(Ids(generated.begin(), generated.end()));
    if (answer.is_none()) return allowed;
    allowed.set_few(answer.cast<Ids>());
    if (!as_mask) return allowed;
    allowed.kind = Allowed::Kind::kMask;
    allowed.mask.assign((vocab_size + 31) / 32, 0);
    for (const int32_t id : allowed.ids) allowed.mask.at(static_cast<size_t>(id) / 32) |= uint32_t{1} << (id % 32);
    return allowed;
  }
};

template <typename T>
struct Masked {
  Mask mask;
  int64_t prompt_length;
  T it;
};

// Answers from a whole row of logits, as a device does.
void answer_from(std::span<float> row, Selection& selection) {
  answer(row, kernels::active().log_sum_exp(row.data(), std::ssize(row)), selection);
}

void bind_sampler(py::module_& m) {
  using MaskedSampler = Masked<Sampler>;
  using SharedSampler = Exclusive<MaskedSampler>;
  py::class_<SharedSampler>(m, "Sampler", "Chooses the next token of one sequence.")
      .def(py::init([](const GenerationConfig& config, int64_t prompt_length, int32_t sequence,
                       std::optional<py::function> allowed, bool as_mask, const Ids& source_ids) {
             Sampler sampler(config, prompt_length, source_ids, resolve_seed(config), sequence);
             MaskedSampler masked{{std::move(allowed), as_mask}, prompt_length, std::move(sampler)};
             return std::make_unique<SharedSampler>("the sampler", std::move(masked));
           }),
           py::arg("config"), py::arg("prompt_length"), py::arg("sequence") = 0, py::arg("allowed") = py::none(),
           py::arg("as_mask") = false, py::arg("source_ids") = Ids())
      .def_property_readonly("needs_all",
                             [](SharedSampler& self) {
                               return self.use([](const MaskedSampler& masked) { return masked.it.needs_all(); });
                             })
      .def(
          "next",
          [](SharedSampler& self, const FloatArray& logits, const Ids& ids) {
            std::vector<float> row = copy(logits);
            return self.use([&](MaskedSampler& masked) -> std::optional<std::pair<int32_t, float>> {
              Selection selection;
              const auto generated = std::span(ids).subspan(static_cast<size_t>(masked.prompt_length));
              const Allowed allowed = masked.mask(generated, row.size());
              masked.it.ask(ids, allowed, row, selection);
              answer_from(row, selection);
              const std::optional<SampledToken> token = masked.it.next(selection, ids);
              if (!token) return std::nullopt;
              return std::pair(token->id, token->logit - selection.found_log_sum_exp.value());
            });
          },
          py::arg("logits"), py::arg("ids"),
          "The next token and its log-probability; None for an alternative that there is not.");

  m.def(
      "process",
      [](const GenerationConfig& config, int64_t prompt_length, const FloatArray& logits, const Ids& ids,
         const Ids& source_ids) {
        std::vector<float> row = copy(logits);
        sampling::LogitsProcessors(config, prompt_length, source_ids).apply(row, ids);
        return py::array_t<float>(static_cast<py::ssize_t>(row.size()), row.data());
      },
      py::arg("config"), py::arg("prompt_length"), py::arg("logits"), py::arg("ids"), py::arg("source_ids") = Ids(),
      "The logits after penalties and bans.");
  m.def(
      "touched",
      [](const GenerationConfig& config, int64_t prompt_length, const Ids& ids, const Ids& source_ids) {
        Ids tokens;
        sampling::LogitsProcessors(config, prompt_length, source_ids).touched(ids, tokens);
        return tokens;
      },
      py::arg("config"), py::arg("prompt_length"), py::arg("ids"), py::arg("source_ids") = Ids(),
      "The tokens whose logits penalties and bans may change.");
  m.def(
      "warp",
      [](const GenerationConfig& config, const FloatArray& logits) {
        sampling::Candidates candidates;
        const std::vector<float> row = copy(logits);
        for (size_t id = 0; id < row.size(); ++id) {
          if (row[id] >= std::numeric_limits<float>::lowest())
            candidates.push_back({row[id], static_cast<int32_t>(id)});
        }
        sampling::warp(config, candidates);
        py::dict weights;
        for (const auto& [weight, id] : candidates) weights[py::int_(id)] = weight;
        return weights;
      },
      py::arg("config"), py::arg("logits"), "The tokens to draw from and their unnormalised weights.");
}

void advance(BeamSearch& search, const Mask& mask, const FloatArray& logits) {
  if (search.done()) throw InvalidArgument("advance: the search is done.");
  if (logits.ndim() != 2 || static_cast<size_t>(logits.shape(0)) != search.beams().size()) {
    throw InvalidArgument("logits: must have one row for each of the " + std::to_string(search.beams().size()) +
                          " beams.");
  }
  std::vector<float> rows = copy(logits);
  const size_t cols = static_cast<size_t>(logits.shape(1));
  std::vector<Selection> selections(search.beams().size());
  std::vector<Allowed> allowed(selections.size());
  for (size_t i = 0; i < selections.size(); ++i) {
    const std::span<float> row(rows.data() + i * cols, cols);
    allowed[i] = mask(search.generated(search.beams()[i]), cols);
    search.ask(i, allowed[i], selections[i]);
    answer_from(row, selections[i]);
  }
  search.advance(selections);
}

void bind_beam_search(py::module_& m) {
  py::class_<Beam>(m, "Beam")
      .def_readonly("parent", &Beam::parent)
      .def_readonly("token", &Beam::token)
      .def_readonly("score", &Beam::score)
      .def_readonly("logprob", &Beam::logprob)
      .def_readonly("ids", &Beam::ids);
  py::class_<Hypothesis>(m, "Hypothesis")
      .def_readonly("score", &Hypothesis::score)
      .def_readonly("logprob", &Hypothesis::logprob)
      .def_readonly("finished", &Hypothesis::finished)
      .def_readonly("generated_ids", &Hypothesis::generated_ids);

  using MaskedSearch = Masked<BeamSearch>;
  using SharedSearch = Exclusive<MaskedSearch>;
  const auto ask = [](auto question) {
    return [question](SharedSearch& self) {
      return self.use([&](const MaskedSearch& masked) { return question(masked.it); });
    };
  };
  py::class_<SharedSearch>(m, "BeamSearch", "Beam search fed with logits.")
      .def(py::init([](const GenerationConfig& config, const Ids& prompt_ids, std::optional<py::function> allowed,
                       const std::optional<std::function<bool(Ids)>>& stop_test, bool as_mask, const Ids& source_ids) {
             StopTest test;
             if (stop_test)
               test = [f = *stop_test](std::span<const int32_t> ids) { return f({ids.begin(), ids.end()}); };
             BeamSearch search(config, prompt_ids, source_ids, std::move(test));
             MaskedSearch masked{{std::move(allowed), as_mask}, std::ssize(prompt_ids), std::move(search)};
             return std::make_unique<SharedSearch>("the search", std::move(masked));
           }),
           py::arg("config"), py::arg("prompt_ids"), py::arg("allowed") = py::none(), py::arg("stop_test") = py::none(),
           py::arg("as_mask") = false, py::arg("source_ids") = Ids())
      .def_property_readonly("beams", ask([](const BeamSearch& search) { return search.beams(); }))
      .def_property_readonly("done", ask([](const BeamSearch& search) { return search.done(); }))
      .def(
          "advance",
          [](SharedSearch& self, const FloatArray& logits) {
            self.use([&](MaskedSearch& masked) { advance(masked.it, masked.mask, logits); });
          },
          py::arg("logits"))
      .def("finalize", ask([](const BeamSearch& search) { return search.finalize(); }));
}

void bind_stop_matcher(py::module_& m) {
  using Shared = Exclusive<StopMatcher>;
  py::class_<Shared>(m, "StopMatcher", "Cuts a text that arrives in pieces before the first stop string.")
      .def(py::init(
               [](const std::vector<std::string>& stops) { return std::make_unique<Shared>("the matcher", stops); }),
           py::arg("stops"))
      .def("feed",
           [](Shared& self, const std::string& piece) {
             return py::bytes(self.use([&](StopMatcher& matcher) { return matcher.feed(piece); }));
           })
      .def("flush",
           [](Shared& self) { return py::bytes(self.use([](StopMatcher& matcher) { return matcher.flush(); })); })
      .def_property_readonly("matched", [](Shared& self) {
        return self.use([](const StopMatcher& matcher) { return matcher.matched(); });
      });
}

}  // namespace

void bind_sampling_steps(py::module_& testing, const py::module_& core) {
  py::module_ m = testing.def_submodule("sampling", "Logits to tokens.");
  m.attr("GenerationConfig") = core.attr("sampling").attr("GenerationConfig");
  bind_sampler(m);
  bind_beam_search(m);
  bind_stop_matcher(m);
}

}  // namespace t5g::python
