// Chooses the kernel table once: the best level of this CPU, or the one that T5G_CPU names.
#include <cstdlib>

#include "base/cpu_features.h"
#include "base/error.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/levels.h"

namespace t5g::kernels {
namespace {

template <typename Function>
void inherit(Function& entry, Function from_below) {
  if (entry == nullptr) entry = from_below;
}

KernelTable complete(const KernelTable& level, const KernelTable& below) {
  KernelTable table = level;
  for (size_t type = 0; type < table.matmul.size(); ++type) inherit(table.matmul[type], below.matmul[type]);
  inherit(table.bound_groups, below.bound_groups);
  inherit(table.score_groups, below.score_groups);
  inherit(table.quantize_row, below.quantize_row);
  inherit(table.round_row, below.round_row);
  inherit(table.rms_norm, below.rms_norm);
  inherit(table.add_rms_norm, below.add_rms_norm);
  inherit(table.layer_norm, below.layer_norm);
  inherit(table.bias_gelu, below.bias_gelu);
  inherit(table.geglu, below.geglu);
  inherit(table.softcap, below.softcap);
  inherit(table.rope, below.rope);
  for (size_t type = 0; type < table.kv.size(); ++type) {
    inherit(table.kv[type].prepare_query, below.kv[type].prepare_query);
    inherit(table.kv[type].store_token, below.kv[type].store_token);
    inherit(table.kv[type].attend, below.kv[type].attend);
  }
  inherit(table.merge, below.merge);
  inherit(table.argmax, below.argmax);
  inherit(table.log_sum_exp, below.log_sum_exp);
  return table;
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
    if (!table->on_request && runs_here(*table)) best = table;
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

const KernelTable& level(const std::string& name) {
  for (const KernelTable* table : all_levels()) {
    if (name != table->name) continue;
    if ((table->required_features & kCpuAmxInt8) && runs_here(*table) && !may_use_amx()) {
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
