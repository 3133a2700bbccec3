// Tokenizer: text of either kind (str, bytes) in, ids and str out.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "text/truncation.h"
#include "token_ids.h"
#include "wrong_type.h"

namespace t5g::python {
namespace {

namespace py = pybind11;

// The bytes of a str (as UTF-8; UnicodeEncodeError for a lone surrogate) or of a bytes object, valid while it lives.
std::string_view text_view(const py::object& text) {
  if (PyUnicode_Check(text.ptr())) {
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (data == nullptr) throw py::error_already_set();
    return {data, static_cast<size_t>(size)};
  }
  if (PyBytes_Check(text.ptr())) return py::reinterpret_borrow<py::bytes>(text);
  throw WrongType("text must be str or bytes, not " + std::string(Py_TYPE(text.ptr())->tp_name));
}

using Ids = std::vector<int32_t>;
using Strings = std::vector<std::string>;

// From lists, as the converter and tests have them; models make theirs from a file.
std::shared_ptr<Tokenizer> make_tokenizer(const Strings& pieces, const std::vector<float>& scores, const Ids& types,
                                          int64_t bos_id, int64_t eos_id, int64_t unk_id, int64_t pad_id,
                                          const Ids& prefix_ids, const Ids& suffix_ids,
                                          const std::optional<std::vector<std::pair<int32_t, uint32_t>>>& added_tokens,
                                          const Strings& merges) {
  const std::vector<std::string_view> piece_views(pieces.begin(), pieces.end());
  const std::vector<std::string_view> merge_views(merges.begin(), merges.end());
  std::vector<AddedToken> added;
  for (const auto& [id, flags] : added_tokens.value_or(std::vector<std::pair<int32_t, uint32_t>>())) {
    added.push_back({id, flags});
  }
  const Vocabulary vocabulary{.pieces = piece_views,
                              .scores = scores,
                              .types = types,
                              .bos_id = bos_id,
                              .eos_id = eos_id,
                              .unk_id = unk_id,
                              .pad_id = pad_id,
                              .prefix_ids = prefix_ids,
                              .suffix_ids = suffix_ids,
                              .added_tokens = added_tokens ? AddedTokenList(added) : AddedTokenList(),
                              .merges = merge_views};
  const py::gil_scoped_release release;
  return std::make_shared<Tokenizer>(vocabulary, "tokenizer");
}

std::vector<int32_t> encode(const Tokenizer& tokenizer, const py::object& text, bool add_special_tokens,
                            bool parse_special, const std::vector<int32_t>& also_match) {
  const std::string_view view = text_view(text);
  const py::gil_scoped_release release;
  return tokenizer.encode(view, {add_special_tokens, parse_special, also_match});
}

std::string decode(const Tokenizer& tokenizer, const py::object& object, bool skip_special_tokens) {
  const std::vector<int32_t> ids = token_ids("ids", object, tokenizer.vocab_size());
  const py::gil_scoped_release release;
  return tokenizer.decode(ids, skip_special_tokens);
}

// What each token adds to a text, in bytes: nothing where skip_special_tokens skips it.
py::list token_bytes(const Tokenizer& tokenizer) {
  py::list result;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::optional<uint8_t> byte = tokenizer.byte(id);
    result.append(py::bytes(byte ? std::string(1, static_cast<char>(*byte)) : tokenizer.decode({&id, 1})));
  }
  return result;
}

// Ids of special tokens and the text between, as Python's int and str.
py::list split_special(const Tokenizer& tokenizer, const py::object& text) {
  const std::string_view view = text_view(text);
  std::vector<Tokenizer::Part> parts;
  {
    const py::gil_scoped_release release;
    parts = tokenizer.split_special(view);
  }
  py::list result;
  for (const Tokenizer::Part& part : parts) {
    result.append(part.id >= 0 ? py::object(py::int_(part.id)) : py::object(py::str(part.text)));
  }
  return result;
}

// Messages are mappings with "role" and "content", as for Hugging Face's apply_chat_template.
std::vector<int32_t> chat_ids(const Tokenizer& tokenizer, const py::iterable& messages) {
  std::vector<ChatMessage> copied;
  for (const py::handle message : messages) {
    const py::object role = message["role"];
    const py::object content = message["content"];
    copied.push_back({std::string(text_view(role)), std::string(text_view(content))});
  }
  const py::gil_scoped_release release;
  return chat_prompt(tokenizer, copied);
}

std::pair<int64_t, int64_t> cut(int64_t n_ids, int64_t limit, const std::string& part, int64_t n_prefix,
                                int64_t n_suffix) {
  const Truncation word = part == "end" ? Truncation::kEnd : part == "start" ? Truncation::kStart : Truncation::kMiddle;
  const CutRange range = cut_range(n_ids, limit, word, n_prefix, n_suffix);
  return {range.begin, range.n};
}

}  // namespace

void bind_text(py::module_& m) {
  using py::arg;
  m.def("cut_range", &cut, arg("n_ids"), arg("limit"), arg("part"), arg("n_prefix"), arg("n_suffix"),
        "(begin, number) of the ids that go of so many, where only `limit` may stay.");
  py::class_<Tokenizer, std::shared_ptr<Tokenizer>>(m, "Tokenizer", "Text to token ids and back. Thread-safe.")
      .def(py::init(&make_tokenizer), arg("pieces"), arg("scores"), arg("types"), py::kw_only(), arg("bos_id"),
           arg("eos_id"), arg("unk_id"), arg("pad_id"), arg("prefix_ids") = Ids{}, arg("suffix_ids") = Ids{},
           arg("added_tokens") = py::none(), arg("merges") = Strings{},
           "added_tokens: pairs of id and flags, as docs/file-format.md has them; merges: \"LEFT RIGHT\" each.")
      .def("encode", &encode, arg("text"), py::kw_only(), arg("add_special_tokens") = true,
           arg("parse_special") = false, arg("also_match") = std::vector<int32_t>{},
           "Token ids of a str, or of bytes, of which those that are not UTF-8 count as U+FFFD.\n\n"
           "also_match: ids of control pieces that are matched even without parse_special.")
      .def("decode", &decode, arg("ids"), py::kw_only(), arg("skip_special_tokens") = true)
      .def("chat_prompt", &chat_ids, arg("messages"), "The ids of a chat, ready for the model's turn, without bos.")
      .def("split_special", &split_special, arg("text"), "Ids of special tokens in a text, and the text between.")
      .def("token_bytes", &token_bytes, "What each token adds to a text; nothing for special ones.")
      .def("special_pieces", &Tokenizer::special_pieces)
      .def("piece", &Tokenizer::piece, arg("id"), "The piece as the vocabulary has it, with U+2581 for spaces.")
      .def("find", &Tokenizer::find, arg("piece"), "The id of a piece, or None.")
      .def("is_control", &Tokenizer::is_control, arg("id"))
      .def("is_special", &Tokenizer::is_special, arg("id"), "Whether skip_special_tokens skips it.")
      .def("require_text", &Tokenizer::require_text, "Raises UnsupportedError where the vocabulary is a placeholder.")
      .def_property_readonly("is_placeholder", &Tokenizer::is_placeholder)
      .def_property_readonly("vocab_size", &Tokenizer::vocab_size)
      .def_property_readonly("bos_id", &Tokenizer::bos_id)
      .def_property_readonly("eos_id", &Tokenizer::eos_id)
      .def_property_readonly("unk_id", &Tokenizer::unk_id)
      .def_property_readonly("pad_id", &Tokenizer::pad_id)
      .def_property_readonly("prefix_ids",
                             [](const Tokenizer& t) { return Ids(t.prefix_ids().begin(), t.prefix_ids().end()); })
      .def_property_readonly("suffix_ids",
                             [](const Tokenizer& t) { return Ids(t.suffix_ids().begin(), t.suffix_ids().end()); });
}

}  // namespace t5g::python
