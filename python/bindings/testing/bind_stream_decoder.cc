// t5g._testing.StreamDecoder: the text of a stream, token by token, without a model.
#include <pybind11/pybind11.h>

#include <memory>

#include "exclusive.h"
#include "testing/testing.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

namespace t5g::python {

void bind_stream_decoder(pybind11::module_& m) {
  namespace py = pybind11;
  using py::arg;
  using Shared = Exclusive<StreamDecoder>;
  py::class_<Shared>(m, "StreamDecoder", "Token ids to text, one at a time, in whole characters.")
      .def(py::init([](const Tokenizer& tokenizer, bool skip_special_tokens) {
             return std::make_unique<Shared>("the decoder", tokenizer, skip_special_tokens);
           }),
           py::keep_alive<1, 2>(), arg("tokenizer"), py::kw_only(), arg("skip_special_tokens") = true)
      .def(
          "push",
          [](Shared& self, int32_t id) { return self.use([&](StreamDecoder& decoder) { return decoder.push(id); }); },
          arg("id"), "The text that this token completes; may be empty.")
      .def(
          "finish", [](Shared& self) { return self.use([](StreamDecoder& decoder) { return decoder.finish(); }); },
          "What is still held back.");
}

}  // namespace t5g::python
