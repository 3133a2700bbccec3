// What ops/gpu/driver.h promises, asked of one driver: driver_checks cuda|metal. On CUDA and Metal it runs on
// the fakes of tests/support/fakes; where there is a GPU, it runs on that.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error.h"
#include "checks.h"
#include "kernels/gpu/kernels.h"
#include "ops/gpu/driver.h"
#include "ops/gpu/probe.h"
#include "ops/metal/metal_driver.h"
#ifndef __APPLE__
#include "ops/cuda/cuda_driver.h"
#endif

namespace {

using namespace t5g::gpu;

constexpr uint32_t kCols = 48;
constexpr size_t kBytes = kCols * sizeof(float);

std::unique_ptr<Driver> make(std::string_view name) {
#ifndef __APPLE__
  if (name == "cuda") return std::make_unique<t5g::cuda::CudaDriver>(0);
#endif
  T5G_CHECK(name == "metal");
  return std::make_unique<t5g::metal::MetalDriver>();
}

void wait(Driver& driver) {
  const uint64_t mark = driver.mark();
  while (!driver.has_passed(mark)) std::this_thread::yield();
  T5G_CHECK(driver.has_passed(mark));
}

class Block {
 public:
  explicit Block(Driver& driver, size_t size_bytes = kBytes) : driver_(driver), address(driver.allocate(size_bytes)) {}
  ~Block() { driver_.free(address); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

 private:
  Driver& driver_;

 public:
  const Address address;
};

std::vector<float> counting(float from) {
  std::vector<float> values(kCols);
  std::iota(values.begin(), values.end(), from);
  return values;
}

void write(Driver& driver, Address to, float from) {
  const std::vector<float> values = counting(from);
  driver.write(std::as_bytes(std::span(values)), to);
}

std::vector<float> read(Driver& driver, Address from) {
  const auto host = driver.allocate_host(kBytes + 8);
  driver.download(from, *host, 8, kBytes);
  wait(driver);
  std::vector<float> values(kCols);
  std::memcpy(values.data(), host->data() + 8, kBytes);
  return values;
}

// to = from, by a kernel.
void move(Driver& driver, Address from, Address to, Address place) {
  MoveArgs args{};
  args.x = reinterpret_cast<const f32*>(from);
  args.out = reinterpret_cast<f32*>(to);
  args.places = reinterpret_cast<const i32*>(place);
  args.cols = kCols;
  driver.launch(static_cast<KernelIndex>(KernelId::gather_rows), {}, std::as_bytes(std::span(&args, 1)));
}

void what_is_enqueued_runs_in_order(Driver& driver) {
  const Block a(driver), b(driver), c(driver), place(driver, 256);
  driver.fill_zero(place.address, 256);
  write(driver, a.address, 1);
  move(driver, a.address, b.address, place.address);
  driver.copy(b.address, c.address, kBytes);
  driver.fill_zero(a.address, kBytes);
  move(driver, a.address, b.address, place.address);
  T5G_CHECK(read(driver, c.address) == counting(1));
  T5G_CHECK(read(driver, b.address) == std::vector<float>(kCols, 0));
  // A download sees what was before it, and nothing of what comes after.
  const auto host = driver.allocate_host(kBytes);
  driver.download(c.address, *host, 0, kBytes);
  move(driver, a.address, c.address, place.address);
  wait(driver);
  std::vector<float> values(kCols);
  std::memcpy(values.data(), host->data(), kBytes);
  T5G_CHECK(values == counting(1));
}

void an_upload_reads_when_its_turn_comes(Driver& driver) {
  const Block a(driver), b(driver), place(driver, 256);
  const auto host = driver.allocate_host(kBytes);
  driver.fill_zero(place.address, 256);
  std::memcpy(host->data(), counting(5).data(), kBytes);
  driver.upload(*host, 0, a.address, kBytes);
  driver.upload(*host, 8, b.address, 16);
  move(driver, a.address, a.address, place.address);
  T5G_CHECK(read(driver, a.address) == counting(5));
  T5G_CHECK(read(driver, b.address)[0] == 7);
}

void memory_may_go_while_something_runs(Driver& driver) {
  const Block kept(driver), place(driver, 256);
  driver.fill_zero(place.address, 256);
  {
    const Block gone(driver);
    write(driver, gone.address, 3);
    move(driver, gone.address, kept.address, place.address);
    driver.mark();
  }
  T5G_CHECK(read(driver, kept.address) == counting(3));
}

void a_plan_runs_again_with_what_memory_holds_then(Driver& driver) {
  const Block a(driver), b(driver), c(driver), place(driver, 256);
  const auto in = driver.allocate_host(kBytes), out = driver.allocate_host(kBytes);
  driver.fill_zero(place.address, 256);
  wait(driver);
  driver.begin_recording();
  driver.upload(*in, 0, a.address, kBytes);
  move(driver, a.address, b.address, place.address);
  driver.copy(b.address, c.address, kBytes);
  driver.fill_zero(b.address, kBytes);
  driver.download(c.address, *out, 0, kBytes);
  const std::unique_ptr<Plan> plan = driver.end_recording(true);
  T5G_CHECK(plan != nullptr);
  for (const float from : {10.f, 20.f, 30.f}) {
    std::memcpy(in->data(), counting(from).data(), kBytes);
    std::memset(out->data(), 0, kBytes);
    driver.replay(*plan);
    wait(driver);
    T5G_CHECK(std::memcmp(out->data(), counting(from).data(), kBytes) == 0);
  }
  T5G_CHECK(read(driver, b.address) == std::vector<float>(kCols, 0));
  driver.begin_recording();
  move(driver, c.address, b.address, place.address);
  T5G_CHECK(driver.end_recording(false) == nullptr);
  T5G_CHECK(read(driver, b.address) == std::vector<float>(kCols, 0));
}

void marks_pass_in_order(Driver& driver) {
  const Block a(driver);
  uint64_t last = 0;
  std::vector<uint64_t> marks;
  for (int i = 0; i < 5; ++i) {
    driver.fill_zero(a.address, kBytes);
    marks.push_back(driver.mark());
    T5G_CHECK(marks.back() > last);
    last = marks.back();
  }
  while (!driver.has_passed(last)) std::this_thread::yield();
  for (const uint64_t mark : marks) T5G_CHECK(driver.has_passed(mark));
}

void more_than_fits_is_an_error_that_says_how_much(Driver& driver) {
  const size_t free = driver.free_bytes();
  try {
    driver.allocate(free + (size_t{1} << 44));
    T5G_CHECK(false);
  } catch (const t5g::DeviceError& error) {
    T5G_CHECK(std::string_view(error.what()).find("were needed") != std::string_view::npos);
  }
  const Block still_works(driver);
  write(driver, still_works.address, 1);
  T5G_CHECK(read(driver, still_works.address) == counting(1));
}

void settle_leaves_a_queue_that_works(Driver& driver) {
  const Block a(driver), b(driver), place(driver, 256);
  driver.fill_zero(place.address, 256);
  write(driver, a.address, 2);
  move(driver, a.address, b.address, place.address);
  driver.settle();
  write(driver, b.address, 4);
  T5G_CHECK(read(driver, b.address) == counting(4));
}

void two_drivers_work_side_by_side(std::string_view name) {
  const auto work = [&](float from) {
    const auto driver = make(name);
    const Block a(*driver), b(*driver), place(*driver, 256);
    driver->fill_zero(place.address, 256);
    for (int i = 0; i < 20; ++i) {
      write(*driver, a.address, from + static_cast<float>(i));
      move(*driver, a.address, b.address, place.address);
      T5G_CHECK(read(*driver, b.address) == counting(from + static_cast<float>(i)));
    }
  };
  std::thread other(work, 100.f);
  work(200.f);
  other.join();
}

}  // namespace

int main(int n_arguments, char** arguments) {
  T5G_CHECK(n_arguments == 2);
  const std::string_view name = arguments[1];
  {
    const auto driver = make(name);
    T5G_CHECK(fragments_are_known(*driver));
    what_is_enqueued_runs_in_order(*driver);
    an_upload_reads_when_its_turn_comes(*driver);
    memory_may_go_while_something_runs(*driver);
    a_plan_runs_again_with_what_memory_holds_then(*driver);
    marks_pass_in_order(*driver);
    more_than_fits_is_an_error_that_says_how_much(*driver);
    settle_leaves_a_queue_that_works(*driver);
    std::printf("driver_checks: %s (%s)\n", driver->name().c_str(), driver->description().c_str());
  }
  two_drivers_work_side_by_side(name);
}
