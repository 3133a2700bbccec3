// Unrolls the loop that follows it: loops over registers must not stay loops.
#pragma once

#if defined(__clang__)
#define T5G_UNROLL _Pragma("clang loop unroll(full)")
#else
#define T5G_UNROLL _Pragma("GCC unroll 16")
#endif
