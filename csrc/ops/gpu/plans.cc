// Passes are found by a hash of their bytes and compared in full.
#include "ops/gpu/plans.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/error.h"

namespace t5g::gpu {
namespace {

void mix(uint64_t& hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15ull;
  hash ^= hash >> 29;
}

void mix(uint64_t& hash, const Transfer& transfer) {
  mix(hash, transfer.offset);
  mix(hash, transfer.device);
  mix(hash, transfer.size_bytes);
}

uint64_t hash_of(const Pass& pass) {
  uint64_t hash = pass.launches.size();
  for (const Launch& launch : pass.launches) {
    mix(hash, static_cast<uint64_t>(launch.kernel) << 32 | launch.grid.x);
    mix(hash, static_cast<uint64_t>(launch.grid.y) << 32 | launch.grid.z);
    const std::span<const std::byte> args = launch.args_bytes();
    for (size_t at = 0; at + 8 <= args.size(); at += 8) {
      uint64_t word;
      std::memcpy(&word, args.data() + at, sizeof word);
      mix(hash, word);
    }
  }
  for (const Transfer& transfer : pass.uploads) mix(hash, transfer);
  for (const Transfer& transfer : pass.downloads) mix(hash, transfer);
  return hash;
}

void send(Driver& driver, const Pass& pass, const std::vector<Launch>& launches) {
  for (const Transfer& t : pass.uploads) driver.upload(*t.host, t.offset, t.device, t.size_bytes);
  for (const Launch& launch : launches)
    driver.launch(static_cast<KernelIndex>(launch.kernel), launch.grid, launch.args_bytes());
  for (const Transfer& t : pass.downloads) driver.download(t.device, *t.host, t.offset, t.size_bytes);
}

void wait_for_all(Driver& driver) {
  const uint64_t mark = driver.mark();
  while (!driver.has_passed(mark)) {
  }
}

}  // namespace

void enqueue(Driver& driver, const Pass& pass) { send(driver, pass, pass.launches); }

// The one that was not used for the longest time.
void Plans::forget_one(Driver& driver) {
  const auto oldest = std::min_element(plans_.begin(), plans_.end(),
                                       [](const Known& a, const Known& b) { return a.last_use < b.last_use; });
  if (oldest->plan != nullptr) wait_for_all(driver);  // plans live until they have run
  plans_.erase(oldest);
}

void Plans::enqueue_fused(Driver& driver, const Pass& pass) {
  send(driver, pass, fusion_.fuse(pass.launches, pass.is_whole));
}

// A plan needs memory of the driver's own. Where it cannot be had, the pass still runs, launch by launch.
void Plans::record(Driver& driver, Known& known) {
  driver.begin_recording();
  try {
    enqueue_fused(driver, known.pass);
  } catch (...) {
    driver.end_recording(false);
    throw;
  }
  try {
    known.plan = driver.end_recording(true);
  } catch (const DeviceError&) {
    driver.check_usable();
    known.cannot_be_recorded = true;
  }
}

void Plans::enqueue(Driver& driver, const Pass& pass) {
  const uint64_t hash = hash_of(pass), now = ++n_uses_;
  const auto known =
      std::find_if(plans_.begin(), plans_.end(), [&](const Known& k) { return k.hash == hash && k.pass == pass; });
  if (known == plans_.end()) {
    if (plans_.size() == kMaxPlans) forget_one(driver);
    if (fusion_.must_grow(pass.launches)) {
      wait_for_all(driver);
      plans_.clear();
    }
    enqueue_fused(driver, pass);
    plans_.push_back({hash, now, pass, nullptr});
    return;
  }
  known->last_use = now;
  if (known->plan == nullptr && !known->cannot_be_recorded) record(driver, *known);
  if (known->plan != nullptr)
    driver.replay(*known->plan);
  else
    enqueue_fused(driver, pass);
}

}  // namespace t5g::gpu
