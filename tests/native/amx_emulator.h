// The tile unit of AMX INT8 in plain C++, after the pseudocode in Intel's Software Developer's Manual. What an
// instruction would fault on is kept as a message instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

class AmxEmulator {
 public:
  // The first fault, or null.
  const char* fault() const { return fault_; }
  // Instructions done.
  long count() const { return count_; }

  // LDTILECFG
  void configure(const void* from) {
    ++count_;
    uint8_t bytes[64];
    std::memcpy(bytes, from, sizeof bytes);
    release();
    check(bytes[0] == 1 && bytes[1] == 0, "LDTILECFG: palette or start row");
    for (int i = 0; i < 64; ++i)
      check((i >= 2 && i < 16) || (i >= 32 && i < 48) || i >= 56 ? bytes[i] == 0 : true, "LDTILECFG: reserved bytes");
    for (int i = 0; i < kTiles; ++i) {
      Tile& tile = tiles_[i];
      tile.rows = bytes[48 + i];
      tile.row_bytes = bytes[16 + 2 * i] + 256 * bytes[17 + 2 * i];
      check(tile.rows <= kMaxRows && tile.row_bytes <= kMaxBytes, "LDTILECFG: a tile is too large");
      check((tile.rows == 0) == (tile.row_bytes == 0), "LDTILECFG: half a shape");
    }
    configured_ = true;
  }

  // TILERELEASE
  void release() {
    ++count_;
    std::memset(tiles_, 0, sizeof tiles_);
    configured_ = false;
  }

  // TILEZERO
  void zero(int number) {
    ++count_;
    if (Tile* tile = usable(number)) std::memset(tile->bytes, 0, sizeof tile->bytes);
  }

  // TILELOADD
  void load(int number, const std::byte* from, int64_t stride) {
    ++count_;
    Tile* tile = usable(number);
    if (tile == nullptr) return;
    std::memset(tile->bytes, 0, sizeof tile->bytes);
    for (int row = 0; row < tile->rows; ++row)
      std::memcpy(tile->bytes[row], from + row * stride, static_cast<size_t>(tile->row_bytes));
  }

  // TILESTORED
  void store(int number, std::byte* to, int64_t stride) {
    ++count_;
    const Tile* tile = usable(number);
    if (tile == nullptr) return;
    for (int row = 0; row < tile->rows; ++row)
      std::memcpy(to + row * stride, tile->bytes[row], static_cast<size_t>(tile->row_bytes));
  }

  // TDPBSSD
  void multiply_add(int sum_number, int a_number, int b_number) {
    ++count_;
    Tile *sum = usable(sum_number), *a = usable(a_number), *b = usable(b_number);
    if (sum == nullptr || a == nullptr || b == nullptr) return;
    check(sum != a && a != b && b != sum, "TDPBSSD: the same tile twice");
    check(sum->row_bytes % 4 == 0 && a->row_bytes % 4 == 0, "TDPBSSD: rows that are not of 32 bits");
    check(sum->rows == a->rows && sum->row_bytes == b->row_bytes && a->row_bytes / 4 == b->rows, "TDPBSSD: shapes");
    for (int m = 0; m < sum->rows; ++m) {
      for (int k = 0; k < a->row_bytes / 4; ++k) {
        for (int n = 0; n < sum->row_bytes / 4; ++n) {
          int32_t value;
          std::memcpy(&value, sum->bytes[m] + 4 * n, sizeof value);
          for (int i = 0; i < 4; ++i)
            value += static_cast<int8_t>(a->bytes[m][4 * k + i]) * static_cast<int8_t>(b->bytes[k][4 * n + i]);
          std::memcpy(sum->bytes[m] + 4 * n, &value, sizeof value);
        }
      }
    }
  }

 private:
  static constexpr int kTiles = 8, kMaxRows = 16, kMaxBytes = 64;
  struct Tile {
    int rows, row_bytes;
    uint8_t bytes[kMaxRows][kMaxBytes];
  };

  void check(bool holds, const char* what) {
    if (!holds && fault_ == nullptr) fault_ = what;
  }
  Tile* usable(int number) {
    const bool shaped = configured_ && tiles_[number].rows > 0;
    check(shaped, "a tile without a shape");
    return shaped ? &tiles_[number] : nullptr;
  }

  Tile tiles_[kTiles] = {};
  bool configured_ = false;
  const char* fault_ = nullptr;
  long count_ = 0;
};
