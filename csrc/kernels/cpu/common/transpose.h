// Sixteen vectors of sixteen words, turned.
#pragma once

#include T5G_VECTORS  // the level's own, named by its source file

namespace t5g::kernels {
namespace {

// Lane i of vector j becomes lane j of vector i.
inline void transpose(I32x16 (&a)[16]) {
  I32x16 turned[16], four[4];
  for (int i = 0; i < 16; i += 4) {
    for (int j = 0; j < 4; ++j) four[j] = a[i + j];
    transpose_quads(four);
    for (int j = 0; j < 4; ++j) turned[i + j] = four[j];
  }
  for (int j = 0; j < 4; ++j) {
    for (int i = 0; i < 4; ++i) four[i] = turned[4 * i + j];
    transpose_quarters(four);
    for (int i = 0; i < 4; ++i) a[4 * i + j] = four[i];
  }
}

}  // namespace
}  // namespace t5g::kernels
