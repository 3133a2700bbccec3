// Chooses the kernel table once: the best level of this CPU, or the one that T5G_CPU names.
#include <cstdlib>
#include <optional>

#include "base/cpu_features.h"
#include "base/error.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/levels.h"

namespace t5g::kernels {
namespace {

// Calls visit(kernel, type, entry of each of the tables) for every entry; the type is empty where there is one for all.
template <typename Visit, typename... Tables>
void for_each_entry(const Visit& visit, Tables&... tables) {
  using Type = std::optional<DataType>;
#define T5G_KERNEL(kernel, result, parameters, shapes) visit(#kernel, Type(), tables.kernel...);
#define T5G_KERNEL_OF_ARGS(kernel, Args) visit(#kernel, Type(), tables.kernel...);
#include "kernels/cpu/kernels.inc"
  for (size_t i = 0; i < kNumDataTypes; ++i) {
    const auto type = static_cast<DataType>(i);
#define T5G_KERNEL_OF_TYPE(kernel, Args) visit(#kernel, Type(type), tables.kernel[i]...);
#include "kernels/cpu/kernels.inc"
    if (!is_kv_type(type)) continue;
#define T5G_KERNEL_OF_KV_TYPE(kernel, parameters) visit(#kernel, Type(type), tables.kv[i].kernel...);
#include "kernels/cpu/kernels.inc"
  }
}

KernelTable complete(KernelTable level, const KernelTable& below) {
  const auto inherit = [](const char*, std::optional<DataType>, auto& entry, auto from_below) {
    if (entry == nullptr) entry = from_below;
  };
  for_each_entry(inherit, level, below);
  return level;
}

struct NamedTable {
  const KernelTable* declared;
  KernelTable completed;
};

// Every level with its empty entries filled in. A level is listed after the one it inherits from.
const std::vector<NamedTable>& completed_levels() {
  static const std::vector<NamedTable> levels = [] {
    std::vector<NamedTable> tables;
    const auto add = [&tables](const KernelTable& level, const KernelTable& below) {
      const KernelTable* filled = &level;  // the lowest level has no empty entries
      for (const NamedTable& lower : tables) {
        if (lower.declared == &below) filled = &lower.completed;
      }
      tables.push_back({&level, complete(level, *filled)});
    };
#define T5G_LEVEL(table, below) add(table, below);
#include "kernels/cpu/levels.inc"
#undef T5G_LEVEL
    return tables;
  }();
  return levels;
}

std::string names_of_levels() {
  std::string runs, others;
  for (const KernelTable* table : all_levels()) {
    std::string& list = runs_here(*table) ? runs : others;
    list += (list.empty() ? "" : ", ") + std::string(table->name);
  }
  return runs + (others.empty() ? "" : " (built, but not for this CPU: " + others + ")");
}

// Asks the operating system, for a level that it has to permit.
bool is_permitted(const KernelTable& table) { return (table.required_features & kCpuAmxInt8) == 0 || may_use_amx(); }

const KernelTable& choose() {
  if (const char* forced = std::getenv("T5G_CPU"); forced != nullptr && *forced != '\0') {
    const KernelTable& table = level(forced);
    if (!runs_here(table)) {
      throw Unsupported("T5G_CPU: this CPU cannot run the level '" + std::string(forced) +
                        "'. Choose one of: " + names_of_levels() + ".");
    }
    return table;
  }
  const KernelTable* best = nullptr;
  for (const KernelTable* table : all_levels()) {
    const bool is_worth_it = (cpu_features() & table->worth_features) == table->worth_features;
    if (is_worth_it && runs_here(*table) && is_permitted(*table)) best = table;
  }
  return *best;  // the generic level runs everywhere
}

}  // namespace

std::vector<const KernelTable*> all_levels() {
  std::vector<const KernelTable*> tables;
  for (const NamedTable& level : completed_levels()) tables.push_back(&level.completed);
  return tables;
}

bool runs_here(const KernelTable& table) {
  return (cpu_features() & table.required_features) == table.required_features;
}

std::vector<std::string> empty_entries(const KernelTable& table) {
  std::vector<std::string> names;
  const auto visit = [&names](const std::string& kernel, std::optional<DataType> type, auto entry) {
    if (entry == nullptr) names.push_back(type ? kernel + " of " + type_name(*type) : kernel);
  };
  for_each_entry(visit, table);
  return names;
}

const KernelTable& level(const std::string& name) {
  for (const KernelTable* table : all_levels()) {
    if (name != table->name) continue;
    if (runs_here(*table) && !is_permitted(*table)) {
      throw Unsupported("T5G_CPU: this system does not let the process use the tiles that the level '" + name +
                        "' needs. Choose another level.");
    }
    return *table;
  }
  throw Unsupported("T5G_CPU: no level '" + name + "' in this build. Choose one of: " + names_of_levels() + ".");
}

const KernelTable& active() {
  static const KernelTable& table = choose();
  return table;
}

}  // namespace t5g::kernels
