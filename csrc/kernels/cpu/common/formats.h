// How each packed type (see pack.h) is read, block by block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/kernels.h"
#include T5G_DOT    // the level's own, named by its source file
#include T5G_PAIRS  // likewise
#include "kernels/cpu/common/unroll.h"

namespace t5g::kernels {
namespace {

// Float types: steps of kStep values of each of 16 rows. An operand is what one step takes of the weights, or of one
// activation row.
struct FloatProducts {
  static constexpr bool kFloat = true;
  static constexpr int kRows = Tiles::kFloatRows;
  static constexpr int kStep = 1;
  using Operand = F32x16;
  static const float* x(const MatmulArgs& args) { return args.x; }
  static Operand splat_x(const float* x) { return splat(*x); }
  static F32x16 multiply_add(const Operand& w, const Operand& x, const F32x16& sum) { return fma(w, x, sum); }
};
struct PackedF32 : FloatProducts {
  static constexpr int kStepBytes = 64;
  static Operand load_step(const std::byte* step) { return load(reinterpret_cast<const float*>(step)); }
};
struct PackedF16 : FloatProducts {
  static constexpr int kStepBytes = 32;
  static Operand load_step(const std::byte* step) { return load_f16(step); }
};
struct PackedBF16 {
  static constexpr bool kFloat = true;
  static constexpr int kRows = Tiles::kFloatRows;
  static constexpr int kStep = 2, kStepBytes = 64;
  using Operand = Pairs;
  static const uint16_t* x(const MatmulArgs& args) { return args.x_bf16; }
  static Operand load_step(const std::byte* step) { return load_pairs(step); }
  static Operand splat_x(const uint16_t* x) { return splat_pair(reinterpret_cast<const std::byte*>(x)); }
  static F32x16 multiply_add(const Operand& w, const Operand& x, const F32x16& sum) { return fma_pairs(w, x, sum); }
};

constexpr int kHalvesBytes = 32;  // 16 scales or minima
constexpr int kVectorBytes = 64;

// Quantised types: per block kSteps steps, each of which yields kQuads vectors of four values of each row; quad q of
// step s holds the values 4s + 16q and on. Stored values are larger than true ones by 2^kOffsetLog2 (none when
// negative). kRows: of x, in a tile.
struct PackedQ8_0 {
  static constexpr bool kFloat = false, kHasMinima = false;
  static constexpr int kOffsetLog2 = kSignedOffsetLog2;
  static constexpr int kBlockBytes = kHalvesBytes + 8 * kVectorBytes;
  static constexpr int kSteps = 8, kQuads = 1;
  static constexpr int kRows = Tiles::kQuantizedRows;
  struct Step {
    SignedBytes quad[kQuads];
  };
  static Step load(const std::byte* block, int step) {
    return {{signed_bytes(load_bytes(block + kHalvesBytes + step * kVectorBytes))}};
  }
  static I32x16 dot(const I32x16& sum, const SignedBytes& w, const Quad& x) { return dot_signed(sum, w, x); }
};

template <bool kMinima>
struct PackedQ4 {
  static constexpr bool kFloat = false, kHasMinima = kMinima;
  static constexpr int kOffsetLog2 = kMinima ? -1 : 3;
  static constexpr int kValuesAt = kMinima ? 2 * kHalvesBytes : kHalvesBytes;
  static constexpr int kBlockBytes = kValuesAt + 4 * kVectorBytes;
  static constexpr int kSteps = 4, kQuads = 2;
  static constexpr int kRows = Tiles::kQuantizedRows;
  struct Step {
    Bytes64 quad[kQuads];
  };
  static Step load(const std::byte* block, int step) {
    const Bytes64 nibbles = load_bytes(block + kValuesAt + step * kVectorBytes);
    return {{low_nibbles(nibbles), high_nibbles(nibbles)}};
  }
  static I32x16 dot(const I32x16& sum, const Bytes64& w, const Quad& x) { return dot_small(sum, w, x); }
};
using PackedQ4_0 = PackedQ4<false>;
using PackedQ4_1 = PackedQ4<true>;

template <bool kMinima>
struct UnpackedQ5;
template <bool kMinima>
struct PackedQ5 {
  static constexpr bool kFloat = false, kHasMinima = kMinima;
  static constexpr int kOffsetLog2 = kMinima ? -1 : 4;
  static constexpr int kValuesAt = kMinima ? 2 * kHalvesBytes : kHalvesBytes;
  static constexpr int kBlockBytes = kValuesAt + 5 * kVectorBytes;
  static constexpr int kSteps = 4, kQuads = 2;
  static constexpr int kRows = Tiles::kQuantizedRows;
  using Unpacked = UnpackedQ5<kMinima>;
  using Step = typename PackedQ4<kMinima>::Step;
  static Step load(const std::byte* block, int step) {
    const Bytes64 fifth_bits = load_bytes(block + kValuesAt + 4 * kVectorBytes);
    const Step low = PackedQ4<kMinima>::load(block, step);
    return {{add_fifth_bit(low.quad[0], fifth_bits, step), add_fifth_bit(low.quad[1], fifth_bits, step + 4)}};
  }
  static I32x16 dot(const I32x16& sum, const Bytes64& w, const Quad& x) { return dot_small(sum, w, x); }
};
// A block of five-bit values put together, one to a byte: vector g holds values 4g .. 4g+3 of the 16 rows, as in Q8_0.
template <bool kMinima>
struct UnpackedQ5 {
  using Packed = PackedQ5<kMinima>;
  static constexpr bool kFloat = false, kHasMinima = kMinima;
  static constexpr int kOffsetLog2 = Packed::kOffsetLog2;
  static constexpr int kValuesAt = Packed::kValuesAt;
  static constexpr int kBlockBytes = kValuesAt + 8 * kVectorBytes;
  static constexpr int kSteps = 8, kQuads = 1;
  static constexpr int kRows = Tiles::kQuantizedRows;
  struct Step {
    Bytes64 quad[kQuads];
  };
  static Step load(const std::byte* block, int step) { return {{load_bytes(block + kValuesAt + step * kVectorBytes)}}; }
  static I32x16 dot(const I32x16& sum, const Bytes64& w, const Quad& x) { return dot_small(sum, w, x); }
  static void unpack(const std::byte* packed, std::byte* out) {
    __builtin_memcpy(out, packed, kValuesAt);
    T5G_UNROLL
    for (int step = 0; step < Packed::kSteps; ++step) {
      const typename Packed::Step two = Packed::load(packed, step);
      store(out + kValuesAt + step * kVectorBytes, as_words(two.quad[0]));
      store(out + kValuesAt + (step + Packed::kSteps) * kVectorBytes, as_words(two.quad[1]));
    }
  }
};
using PackedQ5_0 = PackedQ5<false>;
using PackedQ5_1 = PackedQ5<true>;

}  // namespace
}  // namespace t5g::kernels
