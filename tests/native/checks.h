// What the native drivers share: a check that ends the program, and its one line of output.
#pragma once

#include <cstdio>
#include <cstdlib>

// A failed check says where it stands and ends the driver.
#define T5G_CHECK(condition)                                                             \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                      \
    }                                                                                    \
  } while (false)
