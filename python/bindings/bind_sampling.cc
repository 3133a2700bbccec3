// t5g._core.sampling: the options of a generate call, checked, and as a table.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "bindings.h"
#include "constraints.h"
#include "sampling/generation_config.h"
#include "sampling/options.h"
#include "wrong_type.h"

namespace t5g::python {
namespace {

namespace py = pybind11;
using sampling::Option;
using Ids = std::vector<int32_t>;

// ---- Option values: numbers, a seed or None, True, False or "never", words, ids ------------------------------------

const char* type_of(const int32_t&) { return "int"; }
const char* type_of(const double&) { return "float"; }
const char* type_of(const std::optional<uint64_t>&) { return "seed"; }
const char* type_of(const EarlyStopping&) { return "early_stopping"; }
const char* type_of(const Draft&) { return "draft"; }

const char* type_of(const std::optional<int32_t>&) { return "id"; }
const char* type_of(const Ids&) { return "ids"; }
const char* type_of(const std::vector<Ids>&) { return "id_lists"; }
const char* type_of(const std::vector<LogitBias>&) { return "bias"; }

const char* expected(const int32_t&) { return "an integer of 32 bits"; }
const char* expected(const double&) { return "a number"; }
const char* expected(const std::optional<uint64_t>&) { return "None or an integer from 0 to 2^64 - 1"; }

const char* expected(const std::optional<int32_t>&) { return "None or a token id"; }
const char* expected(const Ids&) { return "a list of token ids"; }
const char* expected(const std::vector<Ids>&) { return "a list of lists of token ids"; }

template <typename T>
py::object to_python(const T& value) {
  return py::cast(value);
}
py::object to_python(EarlyStopping value) {
  if (value == EarlyStopping::kNever) return py::str("never");
  return py::bool_(value == EarlyStopping::kWhenFull);
}

py::object to_python(Draft value) { return py::str(value == Draft::kSource ? "source" : "off"); }

py::object to_python(const std::vector<LogitBias>& biases) {
  py::dict dict;
  for (const LogitBias& bias : biases) dict[py::int_(bias.token)] = bias.bias;
  return dict;
}

// A cast would fail on a str that is no UTF-8.
bool is_word(const py::handle& object, const char* word) {
  return py::isinstance<py::str>(object) && py::str(word).equal(object);
}

template <typename T>
void from_python(const char* name, const py::handle& object, T& value) {
  try {
    value = object.cast<T>();
  } catch (const py::cast_error&) {
    const Message message = Argument{name} + ": must be " + expected(value) + ", got " + quoted(object) + ".";
    if (PyLong_Check(object.ptr())) throw InvalidArgument(message);
    throw WrongType(message);
  }
}
void from_python(const char* name, const py::handle& object, std::vector<LogitBias>& biases) {
  std::map<int32_t, double> map;
  try {
    map = object.cast<std::map<int32_t, double>>();
  } catch (const py::cast_error&) {
    throw WrongType(Argument{name} + ": must be a dict {token id: bias}, got " + quoted(object) + ".");
  }
  for (const auto& [token, bias] : map) biases.push_back({token, bias});
}
void from_python(const char* name, const py::handle& object, EarlyStopping& value) {
  if (py::isinstance<py::bool_>(object)) {
    value = object.cast<bool>() ? EarlyStopping::kWhenFull : EarlyStopping::kHeuristic;
  } else if (is_word(object, "never")) {
    value = EarlyStopping::kNever;
  } else {
    const std::string found = quoted(object);
    throw InvalidArgument(Argument{name} + ": must be True, False or \"never\", got " + found + ".");
  }
}

void from_python(const char* name, const py::handle& object, Draft& value) {
  const std::string found = quoted(object);
  if (is_word(object, "source")) {
    value = Draft::kSource;
  } else if (is_word(object, "off")) {
    value = Draft::kOff;
  } else {
    throw InvalidArgument(Argument{name} + ": must be \"source\" or \"off\", got " + found + ".");
  }
}

GenerationConfig make_config(std::shared_ptr<Constraint> constraint, const py::kwargs& options) {
  GenerationConfig config;
  config.constraint = std::move(constraint);
  size_t n_known = 0;
  for (const Option& option : sampling::kOptions) {
    if (!options.contains(option.name)) continue;
    ++n_known;
    std::visit([&](auto field) { from_python(option.name, options[option.name], config.*field); }, option.field);
  }
  if (n_known < options.size()) throw WrongType("GenerationConfig: unknown option among " + quoted(options));
  config.validate();
  return config;
}

py::list option_table() {
  const GenerationConfig defaults;
  py::list rows;
  for (const Option& option : sampling::kOptions) {
    py::dict row;
    row["name"] = option.name;
    std::visit(
        [&](auto field) {
          row["type"] = type_of(defaults.*field);
          row["default"] = to_python(defaults.*field);
        },
        option.field);
    row["min"] = option.min;
    row["max"] = option.max;
    row["min_excluded"] = option.min_excluded;
    row["help"] = option.help;
    rows.append(row);
  }
  return rows;
}

void bind_config(py::module_& m) {
  py::class_<GenerationConfig> config(m, "GenerationConfig", "The options of one generate call, checked.");
  config.def(py::init(&make_config), py::kw_only(), py::arg("constraint") = py::none());
  for (const Option& option : sampling::kOptions) {
    config.def_property_readonly(
        option.name,
        [&option](const GenerationConfig& c) {
          return std::visit([&](auto field) { return to_python(c.*field); }, option.field);
        },
        option.help);
  }
  m.def("option_table", &option_table, "One dict per option: name, type, default, min, max, min_excluded, help.");
}

}  // namespace

void bind_sampling(py::module_& parent) {
  py::module_ m = parent.def_submodule("sampling", "The options of a generate call.");
  bind_constraints(m);
  bind_config(m);
}

}  // namespace t5g::python
