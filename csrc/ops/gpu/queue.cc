// Host memory for small data is filled from its beginning again as soon as the device has run everything: so equal
// passes find their data at equal addresses.
#include "ops/gpu/queue.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"

namespace t5g::gpu {
namespace {

using Clock = std::chrono::steady_clock;

// A decode step is waited for by asking all the time: a sleep takes longer than the rest of it.
constexpr std::chrono::microseconds kBusyTime{2000}, kSleep{50};
constexpr std::chrono::milliseconds kPollTime{2};

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

Queue::Queue(std::shared_ptr<Memory> memory)
    : memory_(std::move(memory)),
      data_host_(driver().allocate_host(kDataBytes)),
      answers_host_(driver().allocate_host(kAnswerBytes)),
      data_(memory_->allocate_unfilled(kDataBytes)),
      plans_(memory_) {}

Queue::~Queue() { driver().settle(); }

void Queue::begin(Interrupt* interrupt) {
  interrupt_ = interrupt;
  driver().use_interrupt(interrupt);
}

void Queue::end() noexcept {
  pass_.clear();
  batch_bytes_ = 0;
  driver().settle();
  driver().use_interrupt(nullptr);
  interrupt_ = nullptr;
  begin_anew();
}

void Queue::begin_anew() {
  ++epoch_;
  data_begin_ = data_end_ = answers_end_ = 0;
  last_mark_ = previous_mark_ = 0;
}

Address Queue::put(std::span<const std::byte> data, size_t reserve_bytes) {
  const size_t room = round_up(std::max<size_t>({data.size(), reserve_bytes, 1}), 16);
  make_room(room);
  if (!data.empty()) std::memcpy(data_host_->data() + data_end_, data.data(), data.size());
  const Address address = data_->address() + data_end_;
  data_end_ += room;
  return address;
}

void Queue::make_room(size_t size_bytes) {
  if (data_end_ + size_bytes <= data_host_->size_bytes()) return;
  drain(false);
  if (size_bytes <= data_host_->size_bytes()) return;
  plans_.clear();
  auto host = driver().allocate_host(size_bytes + size_bytes / 2);
  data_ = memory_->allocate_unfilled(host->size_bytes());
  data_host_ = std::move(host);
}

void Queue::make_batch_room(size_t size_bytes) {
  // The memory of the host is read when its turn comes.
  if (batch_bytes_ > 0 || !pass_.launches.empty() || last_mark_ > 0) wait();
  if (batch_ != nullptr && batch_->size_bytes() >= size_bytes) return;
  plans_.clear();
  auto host = driver().allocate_host(round_up(size_bytes + size_bytes / 2, 4096));
  batch_ = memory_->allocate_unfilled(host->size_bytes());
  batch_host_ = std::move(host);
}

const std::byte* Queue::fetch(Address from, size_t size_bytes) {
  const size_t offset = answers_end_;
  if (offset + size_bytes > answers_host_->size_bytes())
    throw DeviceError(driver().name() + ": an answer of " + std::to_string(size_bytes) + " bytes is too large.");
  pass_.downloads.push_back({answers_host_.get(), offset, from, round_up(size_bytes, 4)});
  answers_end_ += round_up(size_bytes, 16);
  return answers_host_->data() + offset;
}

void Queue::read(Address from, std::span<std::byte> to) {
  wait();
  for (size_t at = 0; at < to.size();) {
    const size_t n = std::min(to.size() - at, answers_host_->size_bytes());
    driver().download(from + at, *answers_host_, 0, round_up(n, 4));
    wait_for(driver().mark());
    std::memcpy(to.data() + at, answers_host_->data(), n);
    at += n;
  }
}

void Queue::write(std::span<const std::byte> from, Address to) {
  flush();
  memory_->fill_new();
  driver().write(from, to);
}

void Queue::flush() { send(false); }

void Queue::send(bool is_end) {
  if (batch_bytes_ > 0) pass_.uploads.push_back({batch_host_.get(), 0, batch_->address(), round_up(batch_bytes_, 4)});
  if (data_end_ > data_begin_)
    pass_.uploads.push_back({data_host_.get(), data_begin_, data_->address() + data_begin_, data_end_ - data_begin_});
  batch_bytes_ = 0;
  data_begin_ = data_end_;
  if (pass_.empty()) return;
  memory_->fill_new();
  pass_.is_whole = is_end;
  if (keeps_whole_) {
    plans_.enqueue(driver(), pass_);
  } else {
    gpu::enqueue(driver(), pass_);
  }
  pass_.clear();
  // At most two of these are under way.
  const uint64_t before = std::exchange(previous_mark_, last_mark_);
  last_mark_ = driver().mark();
  if (!keeps_whole_ && before > 0) wait_for(before);
}

void Queue::wait() { drain(true); }

void Queue::drain(bool is_end) {
  send(is_end);
  if (last_mark_ > 0) {
    if (interrupt_ != nullptr && interrupt_->poll()) throw Cancelled();
    wait_for(last_mark_);
  }
  begin_anew();
}

void Queue::wait_for(uint64_t mark) {
  const Clock::time_point begin = Clock::now();
  Clock::time_point next_poll = begin + kPollTime;
  while (!driver().has_passed(mark)) {
    const Clock::time_point now = Clock::now();
    if (now - begin > kBusyTime) std::this_thread::sleep_for(kSleep);
    if (interrupt_ == nullptr || now < next_poll) continue;
    if (interrupt_->poll()) throw Cancelled();
    next_poll = now + kPollTime;
  }
}

}  // namespace t5g::gpu
