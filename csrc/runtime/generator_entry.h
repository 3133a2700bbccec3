// A request inside the generator, from its coming to its result, and the time that it may take.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "runtime/generator.h"

namespace t5g {

using Clock = std::chrono::steady_clock;
using Deadline = std::optional<Clock::time_point>;

inline bool has_passed(const Deadline& deadline) { return deadline && Clock::now() >= *deadline; }

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Says stop when `outer` does, which may be null, or when it is time.
class TimeLimit final : public Interrupt {
 public:
  TimeLimit(Deadline deadline, Interrupt* outer) : deadline_(deadline), outer_(outer) {}
  bool poll() override {
    if (outer_ != nullptr && outer_->poll()) return true;
    timed_out_ = timed_out_ || has_passed(deadline_);
    return timed_out_;
  }
  bool timed_out() const { return timed_out_; }

 private:
  const Deadline deadline_;
  Interrupt* const outer_;
  bool timed_out_ = false;
};

struct Generator::Entry {
  size_t number;
  GenerationRequest request;  // emptied when it starts
  GenerationConfig config;    // the options, whose max_new_tokens is what the model's limit leaves room for
  std::shared_ptr<const TextOptions> text;
  uint64_t seed;
  bool streams;
  Deadline deadline;
  GenerationResult result;
  ActiveAdapters adapters;  // of its source, kept until it starts

  // Texts that can be taken before the end.
  size_t n_texts() const { return config.uses_beams() ? 0 : static_cast<size_t>(config.n_sequences()); }
};

struct Generator::Running {
  std::unique_ptr<Entry> entry;
  std::unique_ptr<GenerationJob> job;  // until it is done
  std::exception_ptr error = nullptr;  // that has ended it
};

}  // namespace t5g
