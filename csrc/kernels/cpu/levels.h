// The tables of the levels, each defined by the one translation unit that is compiled for its ISA.
#pragma once

#include "base/cpu_features.h"
#include "kernels/cpu/kernels.h"

namespace t5g::kernels {

#define T5G_LEVEL(table, below) extern const KernelTable table;
#include "kernels/cpu/levels.inc"
#undef T5G_LEVEL

}  // namespace t5g::kernels
