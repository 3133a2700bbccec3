// The model is destroyed exactly once, by whoever takes the count of uses to zero.
#include "runtime/model_handle.h"

namespace t5g {

thread_local const ModelHandle::Use* ModelHandle::innermost_use = nullptr;

ModelHandle::Use::Use(ModelHandle& owner, Interrupt* outer)
    : handle(owner), interrupt(owner.closing_, outer), enclosing(innermost_use) {
  int64_t n = handle.n_uses_.load();
  do {
    if (n == 0 || handle.closing_.load()) throw ModelClosed();
  } while (!handle.n_uses_.compare_exchange_weak(n, n + 1));
  innermost_use = this;
}

ModelHandle::Use::~Use() {
  innermost_use = enclosing;
  handle.end_use();
}

bool ModelHandle::this_thread_uses_it() const {
  for (const Use* use = innermost_use; use != nullptr; use = use->enclosing) {
    if (&use->handle == this) return true;
  }
  return false;
}

void ModelHandle::end_use() {
  if (n_uses_.fetch_sub(1) > 1) return;
  {
    const std::lock_guard lock(users_mutex_);
    for (ModelUser* user : users_) user->let_go();
    model_.reset();
    gone_.store(true);
  }
  gone_.notify_all();
}

void ModelHandle::add_user(ModelUser& user) {
  const std::lock_guard lock(users_mutex_);
  if (gone_.load()) throw ModelClosed();
  users_.push_back(&user);
}

void ModelHandle::remove_user(ModelUser& user) {
  const std::lock_guard lock(users_mutex_);
  std::erase(users_, &user);
}

void ModelHandle::close() {
  if (!closing_.exchange(true)) end_use();
  if (this_thread_uses_it() || process_ != os::process_id()) return;
  gone_.wait(false);
}

}  // namespace t5g
