// LoadLibrary, from the folders of the system alone: a file beside the program is no driver.
#include "base/os/library.h"

#include "base/os/windows/system.h"

namespace t5g::os {

void* open_library(const char* name, std::string& why_not) {
  const HMODULE library = ::LoadLibraryExW(wide_path(name).c_str(), nullptr, LOAD_LIBRARY_SEARCH_SYSTEM32);
  if (library == nullptr) why_not = std::string(name) + " cannot be loaded, error " + std::to_string(::GetLastError());
  return library;
}

void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(::GetProcAddress(static_cast<HMODULE>(library), name));
}

}  // namespace t5g::os
