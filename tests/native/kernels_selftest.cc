// Every level that this CPU can run, or that can be emulated, against the portable one, on seeded random data: all
// results must have the same bits, for every row of kernels.inc. Plain C++, so that it also runs cross-built in an
// emulator. Usage: kernels_selftest [--brief] [LEVEL ...], where each LEVEL must be one that runs here. --brief takes
// an eighth of each kernel's sizes: emulators of AVX2 are slow.
#include <cstdio>
#include <exception>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "emulated_levels.h"
#include "kernel_cases.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/shapes.h"

namespace {

using t5g::kernels::KernelTable;
using t5g::kernels::Parameter;
using t5g::kernels::Shapes;

// Where an argument of type P lies: an array, or one number.
template <typename P>
using Held = std::vector<std::remove_cv_t<std::remove_pointer_t<P>>>;

// What a kernel is given as a parameter, random where it reads an array; what it only writes is zero.
template <typename P>
Held<P> argument(const Shapes& shapes, const Parameter& p, int64_t count, Random& random) {
  using Value = typename Held<P>::value_type;
  if (shapes.is_count(p.name)) return {static_cast<Value>(count)};
  if (!p.is_array()) return {static_cast<Value>(std::stof(std::string(p.typical)))};
  const auto size = static_cast<size_t>(p.size(count));
  if (!p.is_given) return Held<P>(size);
  if constexpr (std::is_same_v<Value, float>) {
    return random.floats(size, 6.0f);
  } else {
    return random.integers<Value>(size);
  }
}

template <typename P>
P passed(Held<P>& held) {
  if constexpr (std::is_pointer_v<P>) {
    return held.data();
  } else {
    return held[0];
  }
}

// A kernel on plain numbers: what it returns and all its arguments afterwards.
template <typename Returned, typename... P>
Result run_row(Returned (*kernel)(P...), const Shapes& shapes, int n) {
  Random random(n);
  const int64_t count = n * shapes.granule();
  Result result;
  [&]<size_t... I>(std::index_sequence<I...>) {
    std::tuple<Held<P>...> held = {argument<P>(shapes, shapes.parameters[I], count, random)...};
    if constexpr (std::is_void_v<Returned>) {
      kernel(passed<P>(std::get<I>(held))...);
    } else {
      append(result, std::vector<Returned>{kernel(passed<P>(std::get<I>(held))...)});
    }
    (append(result, std::get<I>(held)), ...);
  }(std::index_sequence_for<P...>());
  return result;
}

template <typename Returned, typename... P>
std::vector<Case> row_cases(const char* name, Returned (*KernelTable::*entry)(P...), const char* text) {
  std::vector<Case> cases;
  for (const int n : {1, 2, 15, 16, 17, 64, 100, 1152, 5000}) {
    cases.push_back({name + std::string(" n=") + std::to_string(n), [=](const KernelTable& table) {
                       return run_row(table.*entry, t5g::kernels::parse_shapes(text), n);
                     }});
  }
  return cases;
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  const auto add = [&all](const std::vector<Case>& cases) { all.insert(all.end(), cases.begin(), cases.end()); };
#define T5G_KERNEL(kernel, result, parameters, shapes) add(row_cases(#kernel, &KernelTable::kernel, shapes));
#define T5G_KERNEL_OF_ARGS(kernel, Args) add(kernel##_cases());
#define T5G_KERNEL_OF_TYPE(kernel, Args) add(kernel##_cases());
#define T5G_KERNEL_OF_KV_TYPE(kernel, parameters) add(kernel##_cases());
#include "kernels/cpu/kernels.inc"
  return all;
}

// Of each kernel and type, one case of eight.
std::vector<Case> brief(const std::vector<Case>& cases) {
  std::map<std::string, int> seen;
  std::vector<Case> chosen;
  for (const Case& c : cases) {
    if (seen[c.name.substr(0, c.name.find('='))]++ % 8 == 0) chosen.push_back(c);
  }
  return chosen;
}

// Number of cases in which the level differs from the portable one.
int compare(const KernelTable& table, const std::vector<Case>& cases) {
  const KernelTable& reference = t5g::kernels::level("generic");
  int mismatches = 0;
  for (const Case& c : cases) {
    if (c.run(table) == c.run(reference)) continue;
    std::printf("MISMATCH %s: %s\n", table.name, c.name.c_str());
    ++mismatches;
  }
  std::printf("%s: %d of %zu cases differ from generic\n", table.name, mismatches, cases.size());
  return mismatches;
}

// Number of entries that are null in a level's table. Nothing is looked for in vain: a table without any has them all.
int count_empty() {
  int empty = t5g::kernels::empty_entries(KernelTable{}).empty() ? 1 : 0;
  for (const KernelTable* table : t5g::kernels::all_levels()) {
    for (const std::string& entry : t5g::kernels::empty_entries(*table)) {
      std::printf("EMPTY %s: %s\n", table->name, entry.c_str());
      ++empty;
    }
  }
  return empty;
}

}  // namespace

int main(int argc, char** argv) try {
  const bool is_brief = argc > 1 && std::string(argv[1]) == "--brief";
  for (int i = is_brief ? 2 : 1; i < argc; ++i) {
    if (!t5g::kernels::runs_here(t5g::kernels::level(argv[i]))) {
      std::printf("MISSING %s: this CPU cannot run it\n", argv[i]);
      return 1;
    }
  }
  if (count_empty() > 0) return 1;
  const std::vector<Case> cases = is_brief ? brief(all_cases()) : all_cases();
  int mismatches = compare(portable_tiles(), cases);
  for (const KernelTable* table : t5g::kernels::all_levels()) {
    if (!t5g::kernels::runs_here(*table) && !emulate(*table)) {
      std::printf("%s: skipped, this CPU cannot run it\n", table->name);
      continue;
    }
    try {
      mismatches += compare(t5g::kernels::level(table->name), cases);
    } catch (const t5g::Unsupported& e) {  // the CPU has it, and the system keeps it
      std::printf("%s: skipped. %s\n", table->name, e.what());
    }
  }
  const char* fault = emulation_fault();
  std::printf("%ld instructions emulated%s%s\n", emulated_instructions(), fault ? ", and a fault: " : "",
              fault ? fault : "");
  return mismatches == 0 && fault == nullptr ? 0 : 1;
} catch (const std::exception& e) {
  std::printf("%s\n", e.what());
  return 1;
}
