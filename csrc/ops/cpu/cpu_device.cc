// Memory is a Buffer, copies are copies, and a pass holds the thread pool.
#include "ops/cpu/cpu_device.h"

#include <algorithm>
#include <cassert>

#include "ops/cpu/host.h"

namespace t5g {
namespace {

// How long a pass goes on before it gives way. Threads that change places at every block of a small model spend as much
// time on that as on the blocks; nobody notices a step that comes so much later.
constexpr std::chrono::milliseconds kTurn{2};

}  // namespace

std::unique_ptr<Storage> CpuDevice::allocate(size_t size_bytes) {
  return std::make_unique<HostStorage>(Buffer(size_bytes));
}

std::unique_ptr<Storage> CpuDevice::borrow(std::span<std::byte> host) {
  return std::make_unique<HostStorage>(host.data());
}

void CpuDevice::upload(std::span<const float> from, Tensor to) {
  assert(std::ssize(from) == to.size());
  std::copy(from.begin(), from.end(), on_host(to).data);
}

void CpuDevice::download(Tensor from, std::span<float> to) {
  assert(std::ssize(to) == from.size());
  std::copy_n(on_host(from).data, from.size(), to.begin());
}

void* CpuDevice::begin_pass(Interrupt* interrupt) {
  void* entered = pool_.enter(interrupt);
  interrupt_ = interrupt;
  begun_ = std::chrono::steady_clock::now();
  return entered;
}

bool CpuDevice::is_wanted(void* pass) {
  return std::chrono::steady_clock::now() - begun_ >= kTurn && pool_.is_wanted(pass);
}

void CpuDevice::end_pass(void* pass) noexcept {
  interrupt_ = nullptr;
  pool_.leave(pass);
}

}  // namespace t5g
