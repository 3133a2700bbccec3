// Copies, as what computes must not touch Python's objects.
#include "requests.h"

#include "runtime/encoded_source.h"

namespace t5g::python {

namespace py = pybind11;

AdapterChoices as_choices(const Choices& given) {
  if (!given) return std::nullopt;
  std::vector<AdapterChoice> choices;
  for (const auto& [name, scale] : *given) choices.push_back({name, scale});
  return choices;
}

std::vector<std::vector<uint8_t>> copy_pixels(const std::vector<Pixels>& images) {
  std::vector<std::vector<uint8_t>> copies;
  for (const Pixels& pixels : images) copies.emplace_back(pixels.data(), pixels.data() + pixels.size());
  return copies;
}

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

}  // namespace t5g::python
