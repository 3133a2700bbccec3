// Memory that a device owns. What it is made of, and whether the host could read it, only the device's backend knows.
#pragma once

#include <cstddef>

namespace t5g {

// Given back when it is destroyed, by any thread. Made by Device::allocate() and Device::borrow().
class Storage {
 public:
  virtual ~Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

 protected:
  Storage() = default;
};

}  // namespace t5g
