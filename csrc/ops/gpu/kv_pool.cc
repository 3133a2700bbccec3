// A page of a slab stays one: it is used again for the same format, so what it holds is finite.
#include "ops/gpu/kv_pool.h"

#include <algorithm>

#include "kernels/gpu/pack.h"

namespace t5g::gpu {
namespace {

// So many bytes of single pages are asked for together, and at most so many pages.
constexpr int64_t kSlabBytes = int64_t{16} << 20, kMaxSlabPages = 16;

}  // namespace

KvType kv_type(DataType type) {
  switch (type) {
    case DataType::kF16:
      return KvType::kF16;
    case DataType::kBF16:
      return KvType::kBF16;
    case DataType::kQ8_0:
      return KvType::kQ8_0;
    default:
      return KvType::kF32;
  }
}

GpuKvPool::GpuKvPool(Queue& queue, std::shared_ptr<Memory> memory, const KvFormat& format, int n_layers)
    : queue_(queue),
      memory_(std::move(memory)),
      format_(format),
      n_layers_(n_layers),
      slot_bytes_(format.n_kv_heads * static_cast<int64_t>(kv_head_bytes(kv_type(format.type), format.head_dim))) {}

int32_t GpuKvPool::take(int64_t n) {
  if (n == 1) return take_single();
  std::shared_ptr<Memory::Block> memory = memory_->allocate(static_cast<size_t>(n * page_bytes()));
  const std::lock_guard lock(mutex_);
  const size_t first = find_numbers(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i)
    places_[first + static_cast<size_t>(i)].data = memory->address() + static_cast<Address>(i * page_bytes());
  places_[first].memory = std::move(memory);
  places_[first].n = n;
  return static_cast<int32_t>(first);
}

int32_t GpuKvPool::take_single() {
  const std::lock_guard lock(mutex_);
  if (spare_.empty()) {
    const int64_t n = std::clamp<int64_t>(kSlabBytes / page_bytes(), 1, kMaxSlabPages);
    const std::shared_ptr<Memory::Block> slab = memory_->allocate(static_cast<size_t>(n * page_bytes()));
    const size_t first = find_numbers(static_cast<size_t>(n));
    for (int64_t i = n; i-- > 0;) {
      const size_t number = first + static_cast<size_t>(i);
      places_[number] = {slab->address() + static_cast<Address>(i * page_bytes()), slab, 1};
      spare_.push_back(static_cast<int32_t>(number));
    }
  }
  const int32_t number = spare_.back();
  spare_.pop_back();
  return number;
}

size_t GpuKvPool::find_numbers(size_t n) {
  size_t begin = 0;
  for (size_t i = 0; i < places_.size() && i - begin < n; ++i) {
    if (places_[i].data != 0) begin = i + 1;
  }
  if (begin + n > places_.size()) {
    places_.resize(begin + n);
    spare_.reserve(places_.capacity());  // so that giving back allocates nothing
  }
  return begin;
}

void GpuKvPool::give_back(int32_t first) noexcept {
  std::shared_ptr<Memory::Block> memory;  // goes after the lock
  const std::lock_guard lock(mutex_);
  Place& place = places_[static_cast<size_t>(first)];
  if (place.n == 1) {
    spare_.push_back(first);
    return;
  }
  memory = std::move(place.memory);
  const auto begin = places_.begin() + first;
  std::for_each(begin, begin + place.n, [](Place& of_run) { of_run.data = 0; });
}

void GpuKvPool::copy(int32_t from, int32_t to) {
  CopyArgs args{};
  {
    const std::lock_guard lock(mutex_);
    args.from = pointer_to<const u8>(places_[static_cast<size_t>(from)].data);
    args.to = pointer_to<u8>(places_[static_cast<size_t>(to)].data);
  }
  args.bytes = static_cast<u64>(page_bytes());
  constexpr u64 kGroupBytes = u64{16} * kRowThreads;
  queue_.launch(KernelId::copy_page, {static_cast<uint32_t>((args.bytes + kGroupBytes - 1) / kGroupBytes)}, args);
}

void GpuKvPool::locate(const KvPages& kv, std::vector<Address>& pages) const {
  if (kv.pages.empty()) return;
  const std::lock_guard lock(mutex_);
  const auto at = [&](int32_t number) { return places_[static_cast<size_t>(number)].data; };
  if (!kv.is_run) {
    for (const int32_t number : kv.pages) pages.push_back(at(number));
    return;
  }
  const Address run = at(kv.pages.front());
  for (int64_t c = 0; c < kv_chunks(kv.length); ++c) pages.push_back(run + static_cast<Address>(c * slot_bytes_));
}

}  // namespace t5g::gpu
