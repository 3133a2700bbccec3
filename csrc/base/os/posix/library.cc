// dlopen.
#include "base/os/library.h"

#include <dlfcn.h>

namespace t5g::os {

void* open_library(const char* name, std::string& why_not) {
  void* library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* error = ::dlerror();
    why_not = error != nullptr ? error : "it cannot be loaded";
  }
  return library;
}

void* find_symbol(void* library, const char* name) { return ::dlsym(library, name); }

}  // namespace t5g::os
