// A constraint that is written in Python: the core asks it wherever it stands, so it takes the GIL and may raise; what
// it raises comes out of the call that asked.
#include "constraints.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "sampling/allowed_tokens.h"
#include "sampling/choices.h"
#include "sampling/generation_config.h"
#include "wrong_type.h"

namespace t5g::python {
namespace {

namespace py = pybind11;
using Ids = std::vector<int32_t>;

// A Python object that threads without the GIL may let go of.
class Held {
 public:
  explicit Held(py::object object) : object_(std::move(object)) {}
  ~Held() {
    const py::gil_scoped_acquire gil;
    object_ = py::object();
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  const py::object& operator*() const { return object_; }

 private:
  py::object object_;
};

Ids copy(std::span<const int32_t> ids) { return {ids.begin(), ids.end()}; }

class PythonAllowed final : public AllowedTokens {
 public:
  PythonAllowed(py::object state, size_t n_words) : state_(std::move(state)), n_words_(n_words) {}

  void after(std::span<const int32_t> generated, Allowed& allowed) override {
    allowed.mask.resize(n_words_);
    const py::gil_scoped_acquire gil;
    const py::object answer = (*state_).attr("after")(copy(generated), address(allowed), n_words_ * sizeof(uint32_t));
    if (answer.is_none()) {
      allowed.set_all();
    } else if (py::isinstance<py::bytes>(answer)) {
      const std::string_view bytes = answer.cast<py::bytes>();
      std::memcpy(allowed.mask.data(), bytes.data(), std::min(bytes.size(), n_words_ * sizeof(uint32_t)));
      allowed.set_mask();
    } else if (py::isinstance<py::bool_>(answer)) {
      allowed.set_mask();
    } else {
      allowed.set_few(answer.cast<Ids>());
    }
  }

  void forced(std::span<const int32_t> generated, std::vector<int32_t>& tokens) override {
    const py::gil_scoped_acquire gil;
    tokens = (*state_).attr("forced")(copy(generated)).cast<Ids>();
  }

  size_t n_allowed(std::span<const int32_t> generated, std::span<const int32_t> tokens) override {
    if (tokens.empty()) return 0;
    const py::gil_scoped_acquire gil;
    return (*state_).attr("n_allowed")(copy(generated), copy(tokens)).cast<size_t>();
  }

 private:
  static uintptr_t address(Allowed& allowed) { return reinterpret_cast<uintptr_t>(allowed.mask.data()); }

  const Held state_;
  const size_t n_words_;
};

class PythonConstraint final : public Constraint {
 public:
  PythonConstraint(py::object constraint, int64_t vocab_size, bool runs_beside)
      : constraint_(std::move(constraint)),
        n_words_((static_cast<size_t>(vocab_size) + 31) / 32),
        runs_beside_(runs_beside) {}

  std::unique_ptr<AllowedTokens> begin(const GenerationConfig& config, bool several) const override {
    const py::gil_scoped_acquire gil;
    return std::make_unique<PythonAllowed>((*constraint_).attr("begin")(config.eos_token_ids, several), n_words_);
  }
  bool runs_beside() const override { return runs_beside_; }

 private:
  const Held constraint_;
  const size_t n_words_;
  const bool runs_beside_;
};

}  // namespace

void bind_constraints(py::module_& m) {
  using py::arg;
  py::class_<Constraint, std::shared_ptr<Constraint>>(m, "Constraint", "What limits a text.");
  py::class_<Choices, Constraint, std::shared_ptr<Choices>>(m, "Choices", "The text is one of some.")
      .def(py::init<std::vector<Ids>>(), arg("choices"), "choices: the ids of each, without an end token.");
  py::class_<PythonConstraint, Constraint, std::shared_ptr<PythonConstraint>>(
      m, "PythonConstraint", "One that is written in Python; see t5g.constraints.State.")
      .def(py::init<py::object, int64_t, bool>(), arg("constraint"), arg("vocab_size"), arg("runs_beside"));
}

}  // namespace t5g::python
