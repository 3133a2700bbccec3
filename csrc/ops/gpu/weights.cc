// The file's rows are read a few at a time, taken apart into planes on the host, and written to the device.
#include "ops/gpu/weights.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/error.h"
#include "tensor/buffer.h"

namespace t5g::gpu {
namespace {

// At a time. The heap keeps some of what was freed to it, in proportion to its largest piece.
constexpr size_t kReadBytes = size_t{1} << 20;
// So that pieces of planes begin and end at whole words.
constexpr int64_t kRowsTogether = 2;
// Weights that lie together. Some devices give less in one piece than they have.
constexpr size_t kBlockBytes = size_t{1} << 30;

DataType stored_type(const WeightView& view) {
  return view.as_q8_0 && !is_quantized(view.type) ? DataType::kQ8_0 : view.type;
}

std::string mebibytes(size_t size_bytes) { return std::to_string((size_bytes + (1 << 20) - 1) >> 20) + " MiB"; }

}  // namespace

StoredWeight::StoredWeight(std::shared_ptr<WeightStore> store, const WeightView& view)
    : store_(std::move(store)), view_(view), layout_(weight_layout(stored_type(view), view.rows, view.cols)) {
  store_->note(*this);
}

// A tensor that is a table and a head too lies on the device once.
bool StoredWeight::is_same_as(const StoredWeight& other) const {
  return view_.file == other.view_.file && view_.offset == other.view_.offset &&
         view_.bytes.data() == other.view_.bytes.data() && view_.rows == other.view_.rows &&
         view_.cols == other.view_.cols && layout_.type == other.layout_.type;
}

void WeightStore::note(StoredWeight& weight) {
  const std::lock_guard lock(mutex_);
  noted_.push_back(&weight);
  any_noted_.store(true);
}

void WeightStore::forget(StoredWeight& weight) {
  const std::lock_guard lock(mutex_);
  std::erase(noted_, &weight);
}

void WeightStore::check_room(size_t size_bytes) const {
  Driver& driver = queue_.driver();
  const size_t free = driver.free_bytes();
  if (size_bytes <= free) return;
  throw DeviceError("device '" + driver.name() + "': the model's weights need " + mebibytes(size_bytes) +
                    " of its memory, and " + mebibytes(free) +
                    " are free. Close other programs that use it, use a smaller model or type, or " +
                    to_give("device", "cpu") + ".");
}

void WeightStore::copy_noted() {
  const std::lock_guard lock(mutex_);  // all the time: nobody's weight may go meanwhile
  const std::vector<StoredWeight*>& weights = noted_;
  struct Place {
    StoredWeight* weight;  // the first of its kind
    size_t block, offset;
  };
  std::vector<Place> places;
  std::vector<size_t> place_of;  // of each weight
  std::vector<size_t> block_bytes;
  const size_t most = std::min(kBlockBytes, queue_.driver().largest_allocation());
  for (StoredWeight* weight : weights) {
    const auto same =
        std::ranges::find_if(places, [&](const Place& other) { return other.weight->is_same_as(*weight); });
    place_of.push_back(static_cast<size_t>(same - places.begin()));
    if (same != places.end()) continue;
    const size_t size_bytes = weight->layout_.total_bytes;
    if (block_bytes.empty() || block_bytes.back() + size_bytes > most) block_bytes.push_back(0);
    places.push_back({weight, block_bytes.size() - 1, block_bytes.back()});
    block_bytes.back() += size_bytes;
  }
  check_room(std::accumulate(block_bytes.begin(), block_bytes.end(), size_t{0}));
  std::vector<std::shared_ptr<Memory::Block>> blocks;
  for (const size_t size_bytes : block_bytes) blocks.push_back(queue_.memory().allocate_unfilled(size_bytes));
  for (const Place& place : places) copy(*place.weight, blocks[place.block]->address() + place.offset);
  for (size_t i = 0; i < weights.size(); ++i) {
    const Place& place = places[place_of[i]];
    weights[i]->memory_ = blocks[place.block];
    weights[i]->address_ = blocks[place.block]->address() + place.offset;
    weights[i]->view_ = {
        .type = weights[i]->view_.type, .rows = weights[i]->view_.rows, .cols = weights[i]->view_.cols};
  }
  noted_.clear();
  any_noted_.store(false);
}

void WeightStore::copy(const StoredWeight& weight, Address to) {
  const WeightLayout& layout = weight.layout_;
  const size_t row_bytes = layout.values_row_bytes + layout.scales_row_bytes + layout.high_row_bytes;
  const int64_t at_a_time =
      std::max<int64_t>(static_cast<int64_t>(kReadBytes / row_bytes) / kRowsTogether, 1) * kRowsTogether;
  const auto n_max = static_cast<size_t>(std::min(at_a_time, layout.rows + 1));  // a row more: whole words
  const Buffer values(n_max * layout.values_row_bytes), scales(n_max * layout.scales_row_bytes),
      high(n_max * layout.high_row_bytes);
  WeightReader reader(weight.view_);
  for (int64_t row = 0; row < layout.rows; row += at_a_time) {
    const int64_t n = std::min(at_a_time, layout.rows - row);
    pack_weight(layout, weight.view_.type, reader.rows(row, row + n), n, values.data(), scales.data(), high.data());
    const auto write = [&](const Buffer& plane, size_t plane_row, size_t offset) {
      if (plane_row == 0) return;
      const size_t size_bytes = (static_cast<size_t>(n) * plane_row + 3) / 4 * 4;
      queue_.write({plane.data(), size_bytes}, to + offset + static_cast<size_t>(row) * plane_row);
    };
    write(values, layout.values_row_bytes, 0);
    write(scales, layout.scales_row_bytes, layout.scales_offset);
    write(high, layout.high_row_bytes, layout.high_offset);
  }
}

}  // namespace t5g::gpu
