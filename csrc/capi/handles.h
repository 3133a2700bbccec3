// What is behind the handles. Each begins with a number of its kind, so that a pointer to something else is told from a
// handle before anything of it is used.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/interrupt.h"
#include "capi/generate_options.h"
#include "capi/guard.h"
#include "capi/t5g.h"
#include "runtime/encoded_source.h"
#include "runtime/generation_defaults.h"
#include "runtime/generator.h"
#include "runtime/model_handle.h"

namespace t5g::capi {

// Random numbers, which nothing else begins with.
enum class Kind : uint64_t {
  kModel = 0x9d1f6c35a2e84b71,
  kSource = 0x63b7e0d94f1c28a5,
  kResult = 0xe85a3f7216dc904b,
  kCancel = 0x27c94ab8f3056ed1,
};

template <Kind kKind>
struct Handle {
  static constexpr Kind kExpected = kKind;
  Kind kind = kKind;

  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  // What was freed is no handle any more, as far as can be seen: its memory may be another's by then. Volatile, or the
  // compiler would leave out what nobody may read.
  ~Handle() { *const_cast<volatile Kind*>(&kind) = Kind{}; }
};

// Tells a model's user what a callback wants to hear.
struct Log {
  t5g_log_callback callback = nullptr;
  void* user_data = nullptr;
  void operator()(t5g_log_level level, const std::string& message) const {
    if (callback != nullptr) callback(user_data, level, message.c_str());
  }
};

}  // namespace t5g::capi

struct t5g_cancel : t5g::capi::Handle<t5g::capi::Kind::kCancel> {
  std::atomic<bool> requested{false};
};

struct t5g_model : t5g::capi::Handle<t5g::capi::Kind::kModel> {
  std::shared_ptr<t5g::ModelHandle> handle;
  // What is asked about after closing too, and pointed to by structs.
  std::shared_ptr<const t5g::Tokenizer> tokenizer;
  std::string architecture, name, device, kv_type;
  t5g::GenerationDefaults defaults;
  t5g_generate_options options{};  // the defaults, and what they point to
  t5g::capi::OptionArrays arrays;
  std::vector<const char*> stop;
  double load_seconds = 0;
};

struct t5g_source : t5g::capi::Handle<t5g::capi::Kind::kSource> {
  std::shared_ptr<const t5g::EncodedSource> source;
};

struct t5g_result : t5g::capi::Handle<t5g::capi::Kind::kResult> {
  t5g::GenerationResult result;
  double load_seconds = 0;
};

namespace t5g::capi {

// A handle that is one, of this kind. name: what messages call it.
template <class H>
H& checked(H* handle, const char* name) {
  if (handle == nullptr) fail(name, "is NULL.");
  if (handle->kind != H::kExpected) fail(name, "is a handle of another kind, or was freed.");
  return *handle;
}

// For _free functions: what they are given, where it is of this kind.
template <class H>
void free_handle(H* handle) noexcept {
  if (handle != nullptr && handle->kind == H::kExpected) delete handle;
}

// Puts a new handle where the caller wants it.
template <class H>
H& make_handle(H** out) {
  return *(*out = new H());
}

// Stops when a t5g_cancel says so, which may be NULL.
class CancelInterrupt final : public Interrupt {
 public:
  explicit CancelInterrupt(t5g_cancel* cancel) : cancel_(cancel == nullptr ? nullptr : &checked(cancel, "cancel")) {
    throw_if_requested();
  }
  bool poll() override { return cancel_ != nullptr && cancel_->requested.load(std::memory_order_relaxed); }
  void throw_if_requested() {
    if (poll()) throw Cancelled();
  }

 private:
  const t5g_cancel* cancel_;
};

// Calls body(Model&, Interrupt*), as ModelHandle::use() does.
template <class Body>
auto use(const t5g_model& model, Interrupt* outer, Body&& body) {
  const std::shared_ptr<ModelHandle> kept = model.handle;  // a callback may free the model
  return kept->use(outer, std::forward<Body>(body));
}

// Asks a model for something that it knows.
template <class Ask>
auto known(const t5g_model& model, Ask&& ask) {
  return use(model, nullptr, [&](const Model& it, Interrupt*) { return ask(it); });
}

// Ids that come in.
std::vector<int32_t> ids_argument(const int32_t* ids, size_t n_ids, const char* name);
// ... and that go out, for t5g_free().
void give_ids(const std::vector<int32_t>& ids, int32_t** out, size_t* n_out);

}  // namespace t5g::capi
