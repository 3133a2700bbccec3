// Random numbers that are a function of (seed, sequence, position): SplitMix64, whose state is a counter. A sequence's
// numbers are the same on every platform and whatever else is generated beside it.
#pragma once

#include <cstdint>

namespace t5g::sampling {

class RandomStream {
 public:
  // sequence: the index among the sequences of one source, not the place in a batch.
  RandomStream(uint64_t seed, uint64_t sequence) : state_(mix(mix(seed) + mix(~sequence))) {}

  // Uniform in [0, 1), all 53 bits of the mantissa random.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

 private:
  // The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that spreads every bit over all others.
  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15); }

  uint64_t state_;
};

}  // namespace t5g::sampling
