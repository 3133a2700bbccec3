# The CUDA kernels: csrc/kernels/gpu/all.cu becomes files that are embedded into the library. Only the compiler nvcc is
# needed, no library of CUDA. It is looked for in the variable T5G_NVCC, $CUDACXX, $CUDA_HOME, $CUDA_PATH, on PATH, in
# the usual folders, and in the wheels of the dependency group `cuda` (pyproject.toml) of an active environment.
set(T5G_CUDA AUTO CACHE STRING "CUDA kernels: ON, OFF, or AUTO where nvcc is found")
set_property(CACHE T5G_CUDA PROPERTY STRINGS AUTO ON OFF)
# 8.9 runs the code of 8.6, which is the same bytes for nearly all kernels (docs/devices.md). Its own would take 186 KB,
# and the wheel would be larger than it may be. `--concat` of later nvccs packs both together in 200 KB; 13.0 has none,
# nor is it known which drivers read it.
set(T5G_CUDA_ARCHITECTURES 75 80 86 90 120 CACHE STRING "Compute capabilities to make machine code for")
# The first that knows all of these architectures and --compress-mode.
set(T5G_OLDEST_NVCC 12.8)
# Products and sums are rounded as they are written (-fmad=false), so that a row's bits do not depend on the kernel.
set(T5G_NVCC_FLAGS -std=c++17 -fmad=false -I ${PROJECT_SOURCE_DIR}/csrc)

# Sets T5G_CUDA_ABSENT to the reason why there are no CUDA kernels, or to nothing.
function(t5g_find_nvcc)
  set(T5G_CUDA_ABSENT "" PARENT_SCOPE)
  if(NOT T5G_CUDA)
    set(T5G_CUDA_ABSENT "this build of t5g was made without its CUDA kernels (T5G_CUDA=OFF)" PARENT_SCOPE)
    return()
  endif()
  if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
    set(reason "CUDA kernels are built for Linux only")
  elseif(CMAKE_CROSSCOMPILING AND T5G_CUDA STREQUAL "AUTO")
    set(reason "this build of t5g was made for another machine without its CUDA kernels")
  else()
    if(DEFINED ENV{CUDACXX} AND NOT T5G_NVCC)
      set(T5G_NVCC $ENV{CUDACXX} CACHE FILEPATH "The CUDA compiler")
    endif()
    file(GLOB wheels $ENV{VIRTUAL_ENV}/lib/python3*/site-packages/nvidia/cu*/bin)
    find_program(T5G_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATH_SUFFIXES bin
                 PATHS /usr/local/cuda/bin /opt/cuda/bin ${wheels})
    if(NOT T5G_NVCC)
      set(reason "this build of t5g has no CUDA kernels: nvcc was not there when it was made")
    else()
      execute_process(COMMAND ${T5G_NVCC} --version OUTPUT_VARIABLE text ERROR_QUIET)
      string(REGEX MATCH "release ([0-9.]+)" version "${text}")
      if(NOT version OR CMAKE_MATCH_1 VERSION_LESS T5G_OLDEST_NVCC)
        set(reason "this build of t5g has no CUDA kernels: its nvcc was older than ${T5G_OLDEST_NVCC}")
      endif()
    endif()
  endif()
  if(reason AND NOT T5G_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "T5G_CUDA=${T5G_CUDA}: ${reason}. Install nvcc ${T5G_OLDEST_NVCC} or later (also: pip install "
                        "--group cuda), name it with -DT5G_NVCC=..., or build with -DT5G_CUDA=OFF.")
  endif()
  set(T5G_CUDA_ABSENT "${reason}" PARENT_SCOPE)
endfunction()

# t5g_cuda_image(<variable> <name> SOURCE <file> OPTIONS <option>...): a command that makes <name>.fatbin; its path.
function(t5g_cuda_image variable name)
  cmake_parse_arguments(ARG "" "SOURCE" "OPTIONS;DEPENDS" ${ARGN})
  set(file ${CMAKE_CURRENT_BINARY_DIR}/cuda/${name}.fatbin)
  add_custom_command(OUTPUT ${file}
    COMMAND ${T5G_NVCC} ${T5G_NVCC_FLAGS} -fatbin ${ARG_OPTIONS} ${ARG_SOURCE} -o ${file}
    DEPENDS ${ARG_SOURCE} ${ARG_DEPENDS} COMMENT "CUDA kernels: ${name}" VERBATIM)
  set(${variable} ${file} PARENT_SCOPE)
endfunction()

# Adds the kernels to the floor `ops`.
function(t5g_embed_cuda_kernels target)
  set(source ${PROJECT_SOURCE_DIR}/csrc/kernels/gpu/all.cu)
  file(GLOB kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/kernels/gpu/*.h ${PROJECT_SOURCE_DIR}/csrc/kernels/gpu/*.inc)
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/cuda)
  foreach(architecture IN LISTS T5G_CUDA_ARCHITECTURES)
    list(APPEND code -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  t5g_cuda_image(code_file code SOURCE ${source} OPTIONS --compress-mode=size --threads 2 ${code} DEPENDS ${kernels})
  set(images T5G_CUDA_CODE_FILE="${code_file}")
  set(files ${code_file})
  # For GPUs that there is no machine code for, all of which are newer than 8.0.
  set(ptx ${CMAKE_CURRENT_BINARY_DIR}/cuda/sm_80.ptx)
  add_custom_command(OUTPUT ${ptx}
    COMMAND ${T5G_NVCC} ${T5G_NVCC_FLAGS} -ptx -arch=compute_80 ${source} -o ${ptx}
    COMMAND ${CMAKE_COMMAND} -DFILE=${ptx} -P ${PROJECT_SOURCE_DIR}/cmake/relabel_ptx.cmake
    DEPENDS ${source} ${kernels} ${PROJECT_SOURCE_DIR}/cmake/relabel_ptx.cmake
    COMMENT "CUDA kernels: PTX for compute capability 8.0 and later" VERBATIM)
  t5g_cuda_image(ptx_file ptx_80 SOURCE ${ptx} OPTIONS --compress-mode=size -gencode arch=compute_80,code=compute_80)
  list(APPEND images T5G_CUDA_PTX_80_FILE="${ptx_file}")
  list(APPEND files ${ptx_file})
  set_source_files_properties(cuda/images.cc PROPERTIES COMPILE_DEFINITIONS "${images}" OBJECT_DEPENDS "${files}")
  target_sources(${target} PRIVATE cuda/images.cc)
endfunction()
