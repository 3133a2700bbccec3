// Two passes, as Pillow's, each rounding to 8 bits. Rows stream through both: an input row is visited once and added,
// with its weight, to the sums of the output rows that it takes part in, so no image lies between the passes.
//
// Weights are fractions of 2^22 and sums are exact integers: the order of adding cannot change a result.
#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"

namespace t5g {
namespace {

constexpr int kChannels = 3;
constexpr int kWeightBits = 22;
constexpr uint32_t kHalf = uint32_t{1} << (kWeightBits - 1);

// Which inputs an output is made of, and the place of its weights.
struct Window {
  int64_t begin;
  int64_t end;
  size_t weights;
};

// One axis: output k is the sum of weights[windows[k].weights + i] * input[windows[k].begin + i].
struct Axis {
  std::vector<Window> windows;
  std::vector<uint32_t> weights;
};

// A triangle over the inputs around the output's centre: two of them when enlarging, the `scale` on either side when
// shrinking. The arithmetic is Pillow's to the last bit, or weights would be rounded differently.
Axis make_axis(int64_t in_size, int64_t out_size) {
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
  const double support = std::max(scale, 1.0);
  const double inverse = 1.0 / support;
  Axis axis;
  std::vector<double> exact;
  for (int64_t k = 0; k < out_size; ++k) {
    const double centre = (static_cast<double>(k) + 0.5) * scale;
    const auto begin = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
    const auto end = std::min(in_size, static_cast<int64_t>(centre + support + 0.5));
    double sum = 0;
    exact.clear();
    for (int64_t i = begin; i < end; ++i) {
      const double distance = std::abs((static_cast<double>(i) - centre + 0.5) * inverse);
      exact.push_back(distance < 1.0 ? 1.0 - distance : 0.0);
      sum += exact.back();
    }
    axis.windows.push_back({begin, end, axis.weights.size()});
    for (const double weight : exact) {
      const double share = sum != 0 ? weight / sum : weight;
      axis.weights.push_back(static_cast<uint32_t>(0.5 + share * (1 << kWeightBits)));
    }
  }
  return axis;
}

uint8_t rounded(uint32_t sum) { return static_cast<uint8_t>(std::min<uint32_t>(sum >> kWeightBits, 255)); }

void resize_row(const uint8_t* row, const Axis& axis, uint8_t* out) {
  for (const Window& window : axis.windows) {
    uint32_t red = kHalf, green = kHalf, blue = kHalf;
    const uint32_t* weight = axis.weights.data() + window.weights;
    const uint8_t* end = row + window.end * kChannels;
    for (const uint8_t* pixel = row + window.begin * kChannels; pixel < end; pixel += kChannels, ++weight) {
      red += *weight * pixel[0];
      green += *weight * pixel[1];
      blue += *weight * pixel[2];
    }
    *out++ = rounded(red);
    *out++ = rounded(green);
    *out++ = rounded(blue);
  }
}

// The largest number of windows that share an input.
size_t most_open_windows(const Axis& axis) {
  size_t most = 1;
  size_t first = 0;
  for (size_t k = 0; k < axis.windows.size(); ++k) {
    while (axis.windows[first].end <= axis.windows[k].begin) ++first;
    most = std::max(most, k + 1 - first);
  }
  return most;
}

// The vertical pass: rows of `width` values come in from the top, and output rows leave as they are complete.
class RowSums {
 public:
  RowSums(int64_t in_rows, int64_t out_rows, int64_t width)
      : axis_(make_axis(in_rows, out_rows)),
        width_(static_cast<size_t>(width)),
        n_slots_(most_open_windows(axis_)),
        sums_(n_slots_ * width_, kHalf),
        complete_(width_) {}

  // Adds input row y; calls emit(k, row) for each output row that it completes. False when all are complete.
  template <class Emit>
  bool add(int64_t y, const uint8_t* row, Emit&& emit) {
    const std::vector<Window>& windows = axis_.windows;
    for (size_t k = done_; k < windows.size() && windows[k].begin <= y; ++k) {
      const uint32_t weight = axis_.weights[windows[k].weights + static_cast<size_t>(y - windows[k].begin)];
      uint32_t* sums = slot(k);
      for (size_t i = 0; i < width_; ++i) sums[i] += weight * row[i];
    }
    for (; done_ < windows.size() && windows[done_].end == y + 1; ++done_) {
      uint32_t* sums = slot(done_);
      std::transform(sums, sums + width_, complete_.begin(), rounded);
      std::fill_n(sums, width_, kHalf);
      emit(static_cast<int64_t>(done_), complete_.data());
    }
    return done_ < windows.size();
  }

 private:
  uint32_t* slot(size_t k) { return sums_.data() + k % n_slots_ * width_; }

  const Axis axis_;
  const size_t width_;
  const size_t n_slots_;
  std::vector<uint32_t> sums_;  // [n_slots, width]: output row k in slot k % n_slots
  std::vector<uint8_t> complete_;
  size_t done_ = 0;
};

void check_side(const char* name, int64_t side) {
  if (side < 1 || side > kMaxImageSide) {
    throw InvalidArgument(std::string(name) + " is " + std::to_string(side) + " pixels, expected 1 to " +
                          std::to_string(kMaxImageSide) + ".");
  }
}

void resize_width(const uint8_t* pixels, ImageSize from, uint8_t* out, int64_t width) {
  const Axis columns = make_axis(from.width, width);
  for (int64_t y = 0; y < from.height; ++y)
    resize_row(pixels + y * from.width * kChannels, columns, out + y * width * kChannels);
}

void resize_height(const uint8_t* pixels, ImageSize from, uint8_t* out, int64_t height) {
  const int64_t row_values = from.width * kChannels;
  RowSums sums(from.height, height, row_values);
  const auto emit = [&](int64_t k, const uint8_t* row) { std::copy_n(row, row_values, out + k * row_values); };
  for (int64_t y = 0; sums.add(y, pixels + y * row_values, emit); ++y) {
  }
}

void resize_width_then_height(const uint8_t* pixels, ImageSize from, uint8_t* out, ImageSize to) {
  const int64_t in_values = from.width * kChannels, out_values = to.width * kChannels;
  const Axis columns = make_axis(from.width, to.width);
  RowSums sums(from.height, to.height, out_values);
  std::vector<uint8_t> stretched(static_cast<size_t>(out_values));
  const auto emit = [&](int64_t k, const uint8_t* row) { std::copy_n(row, out_values, out + k * out_values); };
  bool more = true;
  for (int64_t y = 0; more; ++y) {
    resize_row(pixels + y * in_values, columns, stretched.data());
    more = sums.add(y, stretched.data(), emit);
  }
}

void resize_height_then_width(const uint8_t* pixels, ImageSize from, uint8_t* out, ImageSize to) {
  const int64_t in_values = from.width * kChannels, out_values = to.width * kChannels;
  const Axis columns = make_axis(from.width, to.width);
  RowSums sums(from.height, to.height, in_values);
  const auto emit = [&](int64_t k, const uint8_t* row) { resize_row(row, columns, out + k * out_values); };
  for (int64_t y = 0; sums.add(y, pixels + y * in_values, emit); ++y) {
  }
}

// When the height shrinks by far more than the width, Pillow (from 13 on) begins with it. As each pass rounds to 8
// bits, the order shows in the result.
bool is_height_first(ImageSize from, ImageSize to) {
  return from.height > to.height && from.height - to.height > 2 * (from.width - to.width);
}

}  // namespace

void resize_image(const uint8_t* pixels, ImageSize from, uint8_t* out, ImageSize to) {
  check_side("the image's width", from.width);
  check_side("the image's height", from.height);
  check_side("the new width", to.width);
  check_side("the new height", to.height);
  if (from.width == to.width && from.height == to.height) {
    std::copy_n(pixels, from.width * from.height * kChannels, out);
  } else if (from.height == to.height) {
    resize_width(pixels, from, out, to.width);
  } else if (from.width == to.width) {
    resize_height(pixels, from, out, to.height);
  } else if (is_height_first(from, to)) {
    resize_height_then_width(pixels, from, out, to);
  } else {
    resize_width_then_height(pixels, from, out, to);
  }
}

}  // namespace t5g
