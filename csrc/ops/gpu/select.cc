// What is asked of the output head. Logits stay on the device; what comes back are the tokens and values that were
// asked for, and whole rows only where somebody wants them, or more of the best than kernels look for.
#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "ops/gpu/gpu_ops.h"

namespace t5g::gpu {
namespace {

// Rows of logits in memory at a time: 34 MB of them with the vocabulary of T5Gemma 2.
constexpr size_t kSelectRows = 32;
// And ids that they ask about, of several rows.
constexpr size_t kSelectIds = size_t{1} << 17;

bool wants_log_sum_exp(const Selection& s) {
  return s.log_sum_exp == LogSumExp::kYes || s.kind == LogitKind::kLogProbabilities;
}

// The best that kernels look for: one more tells whether the last one has ties.
size_t n_searched(const Selection& s) { return s.n_best > 0 ? s.n_best + (s.with_ties ? 1 : 0) : 0; }

bool wants_row(const Selection& s) {
  return !s.all.empty() || !s.allowed.empty() || s.n_top > 0 || n_searched(s) > kMaxBest;
}

// One token and nothing else: the product itself can look for it.
bool wants_best_alone(const Selection& s) {
  return s.n_best == 1 && !s.with_ties && s.ids.empty() && !wants_row(s) && !wants_log_sum_exp(s);
}

}  // namespace

Address GpuOps::Scratch::of(Queue& queue, size_t size_bytes) {
  if (memory_ == nullptr || memory_->size_bytes() < size_bytes) {
    queue.flush();  // what is not sent off would come after the zeros of the next owner
    memory_ = queue.memory().allocate_unfilled(size_bytes + size_bytes / 4);
  }
  return memory_->address();
}

// What is asked of one block of rows, where its answers will be, and how they are read.
class GpuOps::Answers {
 public:
  // has_logits: they are needed whatever is asked.
  void ask(Queue& queue, std::span<Selection* const> selections, int64_t vocab, bool has_logits);
  // Of device memory that launch() wants.
  size_t size_bytes() const {
    const size_t rows = args_.rows;
    return 4 * (n_values_ + rows + 2 * rows * args_.n_best * (args_.groups + 1) + 2 * rows * args_.groups) + 64;
  }
  bool want_best_alone() const { return best_alone_; }
  // What the kernels are given; memory: size_bytes() of the device. logits: outputs of the head, where not the best
  // alone is wanted.
  const SelectArgs& place(Address logits, Address memory);
  // Enqueues the search in what the head has left.
  void launch(Queue& queue, Address x, size_t x_row_bytes);
  // After Queue::wait(): answers what can be without whole rows.
  void read();
  // The rest, with the rows.
  void read_rows(Queue& queue);

 private:
  bool answer(size_t row);
  std::optional<float> log_sum_exp(size_t row) const {
    if (!wants_log_sum_exp(*selections_[row])) return std::nullopt;
    return floats()[row];
  }
  const float* floats() const {
    return reinterpret_cast<const float*>(found_ + size_t{args_.rows} * args_.n_best * sizeof(Scored));
  }

  std::span<Selection* const> selections_;
  SelectArgs args_{};
  bool sums_ = false, best_alone_ = false;
  std::vector<u32> less_, first_;
  std::vector<i32> ids_;
  size_t n_values_ = 0;  // room for them
  const std::byte* found_ = nullptr;
  size_t hidden_bytes_ = 0;
  std::vector<const std::byte*> hidden_;  // where wanted
  std::vector<size_t> whole_;             // rows that are wanted themselves,
  std::vector<std::optional<float>> sums_of_whole_;
  std::vector<float> row_;
};

GpuOps::GpuOps(GpuDevice& device, bool has_fragments)
    : device_(device), queue_(device.queue()), has_fragments_(has_fragments), answers_(std::make_unique<Answers>()) {}
GpuOps::~GpuOps() = default;

void GpuOps::Answers::ask(Queue& queue, std::span<Selection* const> selections, int64_t vocab, bool has_logits) {
  selections_ = selections;
  args_ = {};
  args_.vocab = static_cast<u32>(vocab);
  args_.groups = groups(vocab, kSearchCols);
  args_.rows = static_cast<u32>(selections.size());
  sums_ = false;
  best_alone_ = !has_logits &&
                std::all_of(selections.begin(), selections.end(), [](const auto* s) { return wants_best_alone(*s); });
  less_.clear();
  first_.clear();
  ids_.clear();
  for (const Selection* s : selections) {
    less_.push_back(s->kind == LogitKind::kLogProbabilities ? 1 : 0);
    first_.push_back(static_cast<u32>(ids_.size()));
    for (const int32_t id : s->ids) ids_.push_back(id);
    sums_ = sums_ || wants_log_sum_exp(*s);
    if (!wants_row(*s)) args_.n_best = std::max(args_.n_best, static_cast<u32>(n_searched(*s)));
  }
  first_.push_back(static_cast<u32>(ids_.size()));
  // The product's own groups are as many as keep the device busy.
  if (best_alone_) {
    const auto busy = static_cast<uint32_t>(4 * queue.driver().n_processors());
    args_.groups = std::clamp(groups(vocab, kMatvecCols), 1u, std::max(args_.groups, busy));
  }
  // In steps, so that the lists of a text that grows lie alike for a while.
  n_values_ = ids_.empty() ? 0 : std::bit_ceil(std::max<size_t>(ids_.size(), 16));
  queue.make_room(4 * (less_.size() + first_.size() + std::max(n_values_, ids_.size())) + 64);
  args_.less = pointer_to<const u32>(queue.put_values(std::span<const u32>(less_)));
  args_.apart.first = pointer_to<const u32>(queue.put_values(std::span<const u32>(first_)));
  args_.apart.ids = pointer_to<const i32>(queue.put_values(std::span<const i32>(ids_), n_values_));
}

const SelectArgs& GpuOps::Answers::place(Address logits, Address memory) {
  const size_t rows = args_.rows, n_best = args_.n_best;
  args_.logits = pointer_to<const f32>(logits);
  // What the host reads lies together, in front.
  args_.best = pointer_to<Scored>(memory);
  args_.log_sum_exp = pointer_to<f32>(memory + rows * n_best * sizeof(Scored));
  args_.values = args_.log_sum_exp + rows;
  args_.found = pointer_to<Scored>((reinterpret_cast<Address>(args_.values + n_values_) + 15) / 16 * 16);
  args_.partial = reinterpret_cast<f32*>(args_.found + rows * n_best * args_.groups);
  return args_;
}

void GpuOps::Answers::launch(Queue& queue, Address x, size_t x_row_bytes) {
  const uint32_t n = args_.rows;
  const size_t rows = n, n_best = args_.n_best;
  if (sums_) {
    queue.launch(KernelId::log_sum_exp, {args_.groups, n}, args_);
    queue.launch(KernelId::log_sum_exp_merge, {n}, args_);
  }
  if (n_best > 0) {
    if (!best_alone_) queue.launch(KernelId::best_logits, {args_.groups, n}, args_);
    queue.launch(KernelId::best_merge, {n}, args_);
  }
  if (n_values_ > 0) queue.launch(KernelId::pick_logits, {n}, args_);
  found_ = queue.fetch(reinterpret_cast<Address>(args_.best), rows * n_best * sizeof(Scored) + 4 * (rows + n_values_));
  hidden_bytes_ = x_row_bytes;
  hidden_.assign(rows, nullptr);
  for (size_t i = 0; i < rows; ++i) {
    if (selections_[i]->keep_hidden) hidden_[i] = queue.fetch(x + i * x_row_bytes, x_row_bytes);
  }
}

void GpuOps::Answers::read() {
  whole_.clear();
  sums_of_whole_.clear();
  for (size_t i = 0; i < selections_.size(); ++i) {
    if (hidden_[i] != nullptr) {
      selections_[i]->hidden.resize(hidden_bytes_ / sizeof(float));
      std::memcpy(selections_[i]->hidden.data(), hidden_[i], hidden_bytes_);
    }
    if (answer(i)) continue;
    whole_.push_back(i);
    sums_of_whole_.push_back(log_sum_exp(i));
  }
}

// False: the row itself is wanted.
bool GpuOps::Answers::answer(size_t row) {
  Selection& s = *selections_[row];
  if (wants_row(s)) return false;
  s.found_log_sum_exp = log_sum_exp(row);
  const auto* scored = reinterpret_cast<const Scored*>(found_) + row * args_.n_best;
  const size_t n = std::min<size_t>(n_searched(s), args_.n_best);
  s.best.clear();
  s.top.clear();
  for (size_t i = 0; i < n && scored[i].id >= 0; ++i) s.best.push_back({scored[i].value, scored[i].id});
  if (s.with_ties && s.best.size() > s.n_best) {
    if (s.best[s.n_best].value == s.best[s.n_best - 1].value) return false;  // and perhaps there are more
  }
  if (s.best.size() > s.n_best) s.best.resize(s.n_best);
  const float* values = floats() + args_.rows + first_[row];
  s.values.assign(values, values + s.ids.size());
  return true;
}

void GpuOps::Answers::read_rows(Queue& queue) {
  row_.resize(whole_.empty() ? row_.size() : args_.vocab);
  for (size_t i = 0; i < whole_.size(); ++i) {
    const Address logits = reinterpret_cast<Address>(args_.logits + whole_[i] * row_.size());
    queue.read(logits, std::as_writable_bytes(std::span(row_)));
    t5g::answer(row_, sums_of_whole_[i], *selections_[whole_[i]]);
  }
}

// The best of each group of the product's, to be merged.
void GpuOps::find_best(Address x, int64_t m, int64_t k, const StoredWeight& head, float softcap,
                       const SelectArgs& select) {
  MatvecArgs args{};
  args.input.kind = kFromRows;
  args.input.x = pointer_to<const f32>(x);
  args.m = static_cast<u32>(m);
  args.k = static_cast<u32>(k);
  args.n_projections = 1;
  args.finish = kBest;
  args.groups = select.groups;
  args.softcap = softcap;
  args.apart = select.apart;
  args.found = select.found;
  args.projections[0].weight = head.weight();
  const u32 rows = matvec_rows(m);
  queue_.launch(matvec_for(head.type(), rows), {select.groups, groups(m, rows)}, args);
}

void GpuOps::select_some(Tensor x_rows, const Head& head, std::span<const LowRankProduct> products, float softcap,
                         std::span<Selection* const> selections) {
  const Address x = address_of(x_rows);
  const int64_t n = x_rows.rows, cols = x_rows.cols, vocab = head.rows();
  answers_->ask(queue_, selections, vocab, !products.empty());
  const Address memory = answers_memory_.of(queue_, answers_->size_bytes());
  if (answers_->want_best_alone()) {
    find_best(x, n, cols, on_gpu(head), softcap, answers_->place(0, memory));
  } else {
    const Address logits = logits_.of(queue_, static_cast<size_t>(n * vocab) * sizeof(float));
    const Product product{&on_gpu(head), logits};
    multiply_decoding(x, n, cols, {&product, 1});
    for (const LowRankProduct& adapted : products) add_low_rank(x, adapted, logits, &GpuOps::multiply_decoding);
    if (softcap > 0) element(KernelId::softcap, logits, 0, n, vocab, softcap);
    answers_->place(logits, memory);
  }
  answers_->launch(queue_, x, static_cast<size_t>(cols) * sizeof(float));
  queue_.wait();
  answers_->read();
  answers_->read_rows(queue_);
}

void GpuOps::select_adapted(Tensor x, const Head& head, std::span<const LowRankProduct> products, float softcap,
                            std::span<Selection* const> selections) {
  std::vector<LowRankProduct> own;
  for (size_t at = 0; at < selections.size();) {
    size_t n = 1, n_ids = selections[at]->ids.size();
    while (n < kSelectRows && at + n < selections.size() && n_ids + selections[at + n]->ids.size() <= kSelectIds)
      n_ids += selections[at + n++]->ids.size();
    const auto first = static_cast<int64_t>(at), end = first + static_cast<int64_t>(n);
    own.clear();
    for (const LowRankProduct& product : products) {
      const int64_t begin = std::max(product.first, first), last = std::min(product.first + product.n, end);
      if (begin >= last) continue;
      own.push_back(product);
      own.back().first = begin - first;
      own.back().n = last - begin;
    }
    select_some(x.slice(first, end), head, own, softcap, selections.subspan(at, n));
    at += n;
  }
}

}  // namespace t5g::gpu
