// Every kernel: the one source that nvcc and, as one text (one_text.py), the Metal compiler are given.
#include "kernels/gpu/all.h"

using namespace t5g::gpu;

#include "kernels/gpu/kernels.inc"
