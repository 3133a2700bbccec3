// Output heads split into planes, their bounds and scores, and the search for the largest output.
#include <pybind11/stl.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/planes.h"
#include "ops/cpu/head_search.h"
#include "ops/cpu/plane_matrix.h"
#include "testing/kernel_bindings.h"

namespace t5g::python {
namespace {

// A Q8_0 head [n, k] split into planes, as the model's is when it is large.
class SplitHead {
 public:
  SplitHead(const Bytes& rows, int64_t n, int64_t k)
      : bytes_(rows.data(), rows.data() + rows.size()),
        matrix_({.type = DataType::kQ8_0, .rows = n, .cols = k, .bytes = std::as_bytes(std::span(bytes_))}) {
    require(n > 0 && k > 0 && k % kernels::kBlock == 0, "k: must be a positive multiple of 32.");
    require(bytes_.size() == static_cast<size_t>(n) * row_bytes(DataType::kQ8_0, k), "rows: not n rows of k values.");
    ThreadPool pool(1);
    matrix_.pack(pool, nullptr);
  }

  bool finite() const { return matrix_.finite(); }

  py::tuple bounds(const std::string& level, const Floats& x, const Bytes& exact, int repeat) const {
    const Quantized q(level, x, matrix_.cols());
    require(exact.size() == matrix_.cols() / kernels::kBlock, "exact: expected one per block.");
    const int64_t n_groups = matrix_.n_groups(), n_rows = n_groups * kernels::kGroupRows;
    Floats rows({q.m, n_rows}), groups({q.m, n_groups});
    const kernels::BoundArgs args = {
        matrix_.planes(),      0,       n_groups, q.m, q.input, exact.data(), rows.mutable_data(), n_rows,
        groups.mutable_data(), n_groups};
    const KernelTable& table = runnable(level);
    {
      const py::gil_scoped_release release;
      for (int i = 0; i < repeat; ++i) table.bound_groups(args);
    }
    return py::make_tuple(rows, groups);
  }

  Floats scores(const std::string& level, const Floats& x, const Ints& groups, int repeat) const {
    for (py::ssize_t i = 0; i < groups.size(); ++i)
      require(groups.data()[i] >= 0 && groups.data()[i] < matrix_.n_groups(), "groups: outside of the matrix.");
    const Quantized q(level, x, matrix_.cols());
    Floats scores({q.m, groups.size() * kernels::kGroupRows});
    std::fill_n(scores.mutable_data(), scores.size(), 0.0f);
    const kernels::PlaneScoreArgs args = {matrix_.planes(), groups.data(),         groups.size(),  q.m,
                                          q.input.q,        scores.mutable_data(), scores.shape(1)};
    const KernelTable& table = runnable(level);
    {
      const py::gil_scoped_release release;
      for (int i = 0; i < repeat; ++i) table.score_groups(args);
    }
    return scores;
  }

  // Of each row of x: (best, its logit, logits of `apart`), and the number of groups scored exactly; or None where all
  // logits would be computed instead.
  py::object best(const std::string& level, const Floats& x, float softcap, const std::vector<Ints>& apart,
                  int n_threads, int repeat) const {
    const Quantized q(level, x, matrix_.cols());
    require(q.m <= HeadSearch::kMaxQueries, "x: too many rows.");
    require(apart.empty() || static_cast<int64_t>(apart.size()) == q.m, "apart: expected one array for each row of x.");
    std::vector<Floats> logits;
    std::vector<BestQuery> queries(static_cast<size_t>(q.m));
    for (size_t i = 0; i < queries.size(); ++i) {
      const Ints ids = apart.empty() ? Ints(0) : apart[i];
      logits.emplace_back(ids.size());
      if (!apart.empty()) queries[i].apart = {apart[i].data(), static_cast<size_t>(ids.size())};
      queries[i].apart_logits = logits[i].mutable_data();
    }
    ThreadPool pool(n_threads);
    HeadSearch search(pool, runnable(level));
    bool found = false;
    {
      const py::gil_scoped_release release;
      for (int i = 0; i < repeat; ++i) found = search.run(matrix_, q.input.q, softcap, queries, nullptr);
    }
    if (!found) return py::none();
    py::list results;
    for (size_t i = 0; i < queries.size(); ++i)
      results.append(py::make_tuple(queries[i].best, queries[i].best_logit, logits[i]));
    return py::make_tuple(results, search.n_scored());
  }

 private:
  // Rows of activations [m, k], as the kernels want them.
  struct Quantized {
    Quantized(const std::string& level, const Floats& x, int64_t k)
        : m(x.ndim() == 2 ? x.shape(0) : 0),
          values(static_cast<size_t>(m * k)),
          scales(values.size() / kernels::kBlock),
          norms(scales.size()),
          offsets(scales.size()),
          sums(scales.size()) {
      require(x.ndim() == 2 && x.shape(1) == k, "x: expected [m, k].");
      runnable(level).quantize_row(x.data(), m * k, values.data(), scales.data(), sums.data());
      input = {{values.data(), scales.data(), sums.data()}, norms.data(), offsets.data()};
      kernels::measure_plane_input(input.q, m, k, norms.data(), offsets.data());
    }
    int64_t m;
    std::vector<int8_t> values;
    std::vector<float> scales, norms, offsets;
    std::vector<int32_t> sums;
    kernels::PlaneRows input;
  };

  std::vector<uint8_t> bytes_;
  PlaneMatrix matrix_;
};

}  // namespace

void bind_split_head(py::module_& m) {
  using py::arg;
  py::class_<SplitHead>(m, "SplitHead", "A Q8_0 output head [n, k] split into planes of 4 bits.")
      .def(py::init<const Bytes&, int64_t, int64_t>(), arg("rows"), arg("n"), arg("k"))
      .def_property_readonly("finite", &SplitHead::finite)
      .def("best", &SplitHead::best, arg("level"), arg("x"), arg("softcap") = 0.0f, arg("apart") = std::vector<Ints>(),
           arg("n_threads") = 1, arg("repeat") = 1);
}

void bind_bound_groups(py::module_& m) {
  using py::arg;
  const auto bound_groups = [](const std::string& level, const SplitHead& head, const Floats& x, const Bytes& exact,
                               int repeat) { return head.bounds(level, x, exact, repeat); };
  m.def("bound_groups", bound_groups, arg("level"), arg("head"), arg("x"), arg("exact"), arg("repeat") = 1,
        "Upper bounds [m, 16 * groups] and, in the same units, those of groups [m, groups]; exact: [k / 32].");
}

void bind_score_groups(py::module_& m) {
  using py::arg;
  const auto score_groups = [](const std::string& level, const SplitHead& head, const Floats& x, const Ints& groups,
                               int repeat) { return head.scores(level, x, groups, repeat); };
  m.def("score_groups", score_groups, arg("level"), arg("head"), arg("x"), arg("groups"), arg("repeat") = 1,
        "Exact scores [m, 16 * listed groups]; 0 for rows that do not exist.");
}

}  // namespace t5g::python
