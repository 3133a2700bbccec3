// The tile unit of AMX: eight tiles of up to 16 rows of 64 bytes.
//
// Where no CPU has it, tests run these instructions by an emulation of the pseudocode of Intel's Software Developer's
// Manual (tests/native/amx_emulator.h). Written as assembly because the intrinsics of gcc 12 take a tile's number as a
// literal only and do not say that memory is read.
#pragma once

#include "kernels/cpu/x86/tile_unit.h"

namespace t5g::kernels {
namespace {

struct AmxTiles {
  // Zeroes all tiles. Per thread, and part of what a context switch saves until it is released.
  static void configure(const TileConfig& config) { __asm__ volatile("ldtilecfg %0" : : "m"(config)); }
  static void release() { __asm__ volatile("tilerelease"); }

  template <int kTile>
  static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  // sum[m][n] += dot(row m of a, column n of b), where b's columns lie in fours: row k of b holds values 4k .. 4k + 3
  // of each of its columns. Signed bytes, 32-bit sums.
  template <int kSum, int kA, int kB>
  static void multiply_add() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace t5g::kernels
