// Generator, and what comes out of it. Every call that computes releases the GIL; Ctrl-C is noticed while it runs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "interrupt.h"
#include "progress.h"
#include "requests.h"
#include "runtime/generator.h"
#include "runtime/kept_logprob.h"
#include "runtime/model_handle.h"

namespace t5g::python {
namespace {

namespace py = pybind11;

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

void bind_generator(py::module_& m) {
  using py::arg;
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
