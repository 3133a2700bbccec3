# Finds the Python to build for and its pybind11, wherever that was installed from.
if(NOT Python_EXECUTABLE AND NOT SKBUILD AND NOT CMAKE_CROSSCOMPILING AND NOT DEFINED ENV{VIRTUAL_ENV}
   AND EXISTS ${PROJECT_SOURCE_DIR}/.venv/bin/python)
  set(Python_EXECUTABLE ${PROJECT_SOURCE_DIR}/.venv/bin/python CACHE FILEPATH "The Python to build for")
endif()
# Who builds by hand may want libt5g alone.
if(SKBUILD OR CMAKE_CROSSCOMPILING)
  set(needed REQUIRED)
else()
  set(needed QUIET)
endif()
if(CMAKE_CROSSCOMPILING)
  find_package(Python 3.10 ${needed} COMPONENTS Development.Module)
else()
  find_package(Python 3.10 ${needed} COMPONENTS Interpreter Development.Module)
endif()
if(NOT pybind11_DIR AND Python_EXECUTABLE)
  # pip puts pybind11 where CMake does not look.
  execute_process(
    COMMAND ${Python_EXECUTABLE} -m pybind11 --cmakedir
    OUTPUT_VARIABLE pybind11_cmake_dir OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
    RESULT_VARIABLE pybind11_missing)
  if(NOT pybind11_missing)
    set(pybind11_DIR ${pybind11_cmake_dir} CACHE PATH "CMake files of pybind11")
  endif()
endif()
if(Python_FOUND)
  find_package(pybind11 3.0 CONFIG ${needed})
endif()
