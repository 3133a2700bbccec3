// What a GPU kernel is written in: one vocabulary for CUDA, Metal and the host's emulation of both. The kernels of this
// folder use nothing but it, so that each is written once.
//
//   GLOBAL SHARED CONSTANT PRIVATE   where a pointer or reference points to: device memory, memory of the group, the
//                                    arguments, the thread's own. Never left out: Metal insists.
//   GPU_FN                           in front of every function
//   Thread                           who I am: passed down by value, as Metal has no global for it
//   group_barrier() warp_barrier()   every thread of the group (warp) comes here, at the same line
//   warp_shuffle_xor(x, mask) warp_shuffle(x, lane) warp_exchange(values, n, mask)
//   lanes_sum<n>(x) lanes_max<n>(x) lanes_combined<n, Combine>(x)
//                                    a warp has 32 lanes, all take part
//   dot4(a, b, sum)                  four products of signed bytes
//   FragA FragB FragC                see fragments below
//
// Rules that tools/gpu checks: no lambdas, static or global variables, virtual functions, recursion, double, std::,
// exceptions; constants are enums or CONSTEXPR; every pointer and reference names its memory.
//
// A product and a sum are rounded once only where mul_add() says so: no target contracts by itself.
//
// Fragments: a warp's share of a matrix product. A is [16][16], B [16][8], both bfloat16, C [16][8] f32. Each lane
// holds four elements of C, get(c, i); where they lie is element_row/element_col(lane, i), which differs between
// devices, but i = 0, 1 are neighbours in one row and so are i = 2, 3.
#pragma once

#include "kernels/gpu/types.h"

#if defined(__CUDACC__)
#include "kernels/gpu/prelude_cuda.h"
#elif defined(__METAL_VERSION__)
#include "kernels/gpu/prelude_metal.h"
#else
#include "kernels/gpu/prelude_host.h"
#endif

#include "kernels/gpu/prelude_common.h"
