// Where the states of a pass through the encoder end up.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "ops/device.h"

namespace t5g {

// Rows of the host's memory as the device sees them: that memory itself, or where it cannot, a copy that is fetched.
class DeviceRows {
 public:
  DeviceRows(Device& device, std::span<float> host, int64_t rows, int64_t cols)
      : device_(device),
        host_(host),
        borrowed_(device.borrow(std::as_writable_bytes(host))),
        view_{borrowed_.get(), 0, rows, cols} {
    if (borrowed_ != nullptr) return;
    copy_ = Floats(device, rows, cols);
    view_ = copy_.view();
  }
  Tensor view() const { return view_; }
  // Waits until the host has them.
  void fetch() {
    if (borrowed_ != nullptr) {
      device_.wait();
    } else {
      device_.download(view_, host_);
    }
  }

 private:
  Device& device_;
  const std::span<float> host_;
  const std::unique_ptr<Storage> borrowed_;
  Floats copy_;
  Tensor view_;
};

}  // namespace t5g
