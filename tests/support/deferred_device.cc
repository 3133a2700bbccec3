// A deliberately awkward device for tests: its memory cannot be touched outside of ops (PROT_NONE), and ops run late,
// at wait(), download() or select(). Whoever reads a tensor on the host, or relies on an op having run, or drops what
// an op still needs, crashes here; whoever keeps to ops/device.h gets the CPU's bits. Built with -DT5G_TEST_DEVICE=ON.
#include <sys/mman.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ops/backends.h"
#include "ops/cpu/cpu_ops.h"

namespace t5g {
namespace {

class DeferredDevice final : public Device {
 public:
  explicit DeferredDevice(int n_threads) : cpu_(n_threads) {}

  CpuDevice& cpu() { return cpu_; }
  void enqueue(std::function<void()> op) { queue_.push_back(std::move(op)); }

  std::string name() const override { return "deferred"; }
  int n_threads() const override { return cpu_.n_threads(); }
  std::unique_ptr<Storage> allocate(size_t size_bytes) override;
  std::unique_ptr<Storage> borrow(std::span<std::byte>) override { return nullptr; }
  void upload(std::span<const float> from, Tensor to) override {
    enqueue([this, copy = std::vector<float>(from.begin(), from.end()), to] { cpu_.upload(copy, to); });
  }
  void download(Tensor from, std::span<float> to) override {
    enqueue([this, from, to] { cpu_.download(from, to); });
    wait();
  }
  void wait() override;

 private:
  class Memory;
  void* begin_pass(Interrupt* interrupt) override { return new Lease(cpu_, interrupt); }
  void end_pass(void* pass) noexcept override {
    queue_.clear();
    delete static_cast<Lease*>(pass);
  }
  bool is_wanted(void* pass) override { return static_cast<Lease*>(pass)->is_wanted(); }
  void protect(int protection);

  // All memory there is; memory may outlive its device.
  struct Blocks {
    std::mutex mutex;
    std::vector<Memory*> all;
  };
  CpuDevice cpu_;
  std::vector<std::function<void()>> queue_;
  const std::shared_ptr<Blocks> blocks_ = std::make_shared<Blocks>();
};

class DeferredDevice::Memory final : public HostStorage {
 public:
  Memory(std::shared_ptr<Blocks> blocks, size_t size_bytes)
      : HostStorage(map(size_bytes)), blocks_(std::move(blocks)), size_(size_bytes) {
    const std::lock_guard lock(blocks_->mutex);
    blocks_->all.push_back(this);
  }
  ~Memory() override {
    const std::lock_guard lock(blocks_->mutex);
    std::erase(blocks_->all, this);
    ::munmap(data(), size_);
  }
  void protect(int protection) { ::mprotect(data(), size_, protection); }

 private:
  static std::byte* map(size_t size_bytes) {
    void* data = ::mmap(nullptr, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw Error("deferred device: out of memory.");
    return static_cast<std::byte*>(data);
  }
  const std::shared_ptr<Blocks> blocks_;
  const size_t size_;
};

std::unique_ptr<Storage> DeferredDevice::allocate(size_t size_bytes) {
  return std::make_unique<Memory>(blocks_, std::max<size_t>(size_bytes, 1));
}

void DeferredDevice::protect(int protection) {
  const std::lock_guard lock(blocks_->mutex);
  for (Memory* block : blocks_->all) block->protect(protection);
}

void DeferredDevice::wait() {
  const auto ops = std::exchange(queue_, {});
  protect(PROT_READ | PROT_WRITE);
  try {
    for (const auto& op : ops) op();
  } catch (...) {
    protect(PROT_NONE);
    throw;
  }
  protect(PROT_NONE);
}

class DeferredPool final : public CpuKvPool {
 public:
  DeferredPool(DeferredDevice& device, const KvFormat& format, int n_layers, int64_t slot_bytes)
      : CpuKvPool(device, format, n_layers, slot_bytes), device_(device) {}
  void copy(int32_t from, int32_t to) override {
    device_.enqueue([this, from, to] { CpuKvPool::copy(from, to); });
  }

 private:
  DeferredDevice& device_;
};

class DeferredOps final : public Ops {
 public:
  explicit DeferredOps(DeferredDevice& device) : device_(device), cpu_(device.cpu()) {}

  int64_t block_rows() const override { return 48; }  // another one than the CPU's, and no multiple of a chunk
  std::unique_ptr<Matrix> load(const WeightView& weight) override { return cpu_.load(weight); }
  std::unique_ptr<Table> load_table(const WeightView& weight) override { return cpu_.load_table(weight); }
  std::unique_ptr<Head> load_head(const WeightView& weight) override { return cpu_.load_head(weight); }
  std::unique_ptr<Rotary> load_rotary(const RotarySpec& spec) override { return cpu_.load_rotary(spec); }
  std::shared_ptr<KvPool> make_kv_pool(const KvFormat& format, int n_layers) override {
    const int64_t slot_bytes = cpu_.make_kv_pool(format, 1)->page_bytes();
    return std::make_shared<DeferredPool>(device_, format, n_layers, slot_bytes);
  }

  void upload(const Batch& batch) override {
    batch_ = std::make_shared<const Batch>(batch);
    device_.enqueue([this, copy = batch_] { cpu_.upload(*copy); });
  }
  void embed(const EmbeddingSpec& spec, BatchRows rows, Tensor out) override {
    device_.enqueue([this, spec, own = own(rows), out] { cpu_.embed(spec, own.rows(), out); });
  }
  void linear(Tensor x, std::span<const Projection> projections) override {
    device_.enqueue(
        [this, x, copy = std::vector<Projection>(projections.begin(), projections.end())] { cpu_.linear(x, copy); });
  }
  void geglu_mlp(Tensor x, const Projection& gate, const Projection& up, const Projection& down) override {
    device_.enqueue([this, x, gate, up, down] { cpu_.geglu_mlp(x, gate, up, down); });
  }
  void gelu_mlp(Tensor x, const Projection& fc1, const Projection& fc2) override {
    device_.enqueue([this, x, fc1, fc2] { cpu_.gelu_mlp(x, fc1, fc2); });
  }
  void rms_norm(Tensor x, Tensor weight, float eps, Tensor out) override {
    device_.enqueue([=, this] { cpu_.rms_norm(x, weight, eps, out); });
  }
  void rms_norm_heads(Tensor x, Tensor weight, float eps) override {
    device_.enqueue([=, this] { cpu_.rms_norm_heads(x, weight, eps); });
  }
  void add_rms_norm(Tensor x, Tensor a, Tensor weight, float eps) override {
    device_.enqueue([=, this] { cpu_.add_rms_norm(x, a, weight, eps); });
  }
  void layer_norm(Tensor x, Tensor weight, Tensor bias, float eps, Tensor out) override {
    device_.enqueue([=, this] { cpu_.layer_norm(x, weight, bias, eps, out); });
  }
  void rope(Tensor x, BatchRows rows, const Rotary& rotary) override {
    device_.enqueue([this, x, own = own(rows), &rotary] { cpu_.rope(x, own.rows(), rotary); });
  }
  void add_rows(Tensor x, const Table& table, int64_t first) override {
    device_.enqueue([this, x, &table, first] { cpu_.add_rows(x, table, first); });
  }
  void gather_rows(Tensor x, std::span<const int32_t> rows, Tensor out) override {
    device_.enqueue(
        [this, x, copy = std::vector<int32_t>(rows.begin(), rows.end()), out] { cpu_.gather_rows(x, copy, out); });
  }
  void scatter_rows(Tensor x, std::span<const int32_t> rows, Tensor out) override {
    device_.enqueue(
        [this, x, copy = std::vector<int32_t>(rows.begin(), rows.end()), out] { cpu_.scatter_rows(x, copy, out); });
  }
  void patches(std::span<const uint8_t> pixels, const PatchSpec& spec, int64_t first, Tensor out) override {
    device_.enqueue([=, this] { cpu_.patches(pixels, spec, first, out); });
  }
  void mean_pool(Tensor x, int64_t window, Tensor out) override {
    device_.enqueue([=, this] { cpu_.mean_pool(x, window, out); });
  }
  void store_kv(Tensor k, Tensor v, BatchRows rows, int layer, Scores scores) override {
    device_.enqueue([this, k, v, own = own(rows), layer, scores] { cpu_.store_kv(k, v, own.rows(), layer, scores); });
  }
  void attention(Tensor q, const AttentionSpec& spec, BatchRows rows, int layer, Tensor out) override {
    device_.enqueue([this, q, spec, own = own(rows), layer, out] { cpu_.attention(q, spec, own.rows(), layer, out); });
  }
  std::unique_ptr<Latent> load_latent(const LatentFormat& format, int64_t n, std::span<const std::byte> rows) override {
    return cpu_.load_latent(format, n, rows);
  }
  void scale_latent(Latent& latent, Tensor k, int64_t first, int layer, float eps) override {
    device_.enqueue([=, this, &latent] { cpu_.scale_latent(latent, k, first, layer, eps); });
  }
  std::unique_ptr<LowRank> load_low_rank(std::span<const float> a, std::span<const float> b, int64_t rank) override {
    return cpu_.load_low_rank(a, b, rank);
  }
  void add_low_rank(Tensor x, std::span<const LowRankProduct> products) override {
    device_.enqueue([this, x, own = std::vector(products.begin(), products.end())] { cpu_.add_low_rank(x, own); });
  }
  void geglu(Tensor gate, Tensor up) override {
    device_.enqueue([this, gate, up] { cpu_.geglu(gate, up); });
  }
  void bias_gelu(Tensor x, Tensor bias) override {
    device_.enqueue([this, x, bias] { cpu_.bias_gelu(x, bias); });
  }
  void select_adapted(Tensor x, const Head& head, std::span<const LowRankProduct> products, float softcap,
                      std::span<Selection* const> selections) override {
    device_.enqueue([=, this, &head] { cpu_.select_adapted(x, head, products, softcap, selections); });
    device_.wait();
  }

 private:
  // Rows of the batch uploaded last, which lives as long as an op needs it.
  struct OwnRows {
    std::shared_ptr<const Batch> batch;
    int64_t first, n;
    BatchRows rows() const { return {batch.get(), first, n}; }
  };
  OwnRows own(BatchRows rows) const { return {batch_, rows.first, rows.n}; }

  DeferredDevice& device_;
  CpuOps cpu_;
  std::shared_ptr<const Batch> batch_;
};

}  // namespace

Backend make_deferred_backend(int, int n_threads) {
  auto device = std::make_unique<DeferredDevice>(n_threads);
  auto ops = std::make_unique<DeferredOps>(*device);
  return {std::move(device), std::move(ops)};
}

std::string describe_deferred(int) { return "the CPU, with ops that run late and memory that only they can read"; }

}  // namespace t5g
