# t5g_floor(<name> SOURCES <file>... [USES <floor>...] [ALONE <file>...] [HAS_NO_LOOPS]): the static library t5g_<name> of the
# folder it is called from. USES are the floors whose headers it may include; linking mirrors the layering that
# tests/test_layering.py checks. What HAS_NO_LOOPS over numbers gains nothing of -O3 but size. Builds that are made once and
# thrown away join files, which takes a third of the time (CMAKE_UNITY_BUILD: for sanitizers, and for ARM under qemu);
# ALONE stay those whose private names another file of the floor has too.
add_library(t5g_flags INTERFACE)
target_compile_options(t5g_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion
                                           $<$<BOOL:${T5G_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # gcc 12 warns of an overlap inside std::string's own operator+ that cannot be (its bug 105651).
  target_compile_options(t5g_flags INTERFACE -Wno-restrict)
endif()
# The sums of a matmul are written in the order in which they must be made: results may not depend on the compiler's
# choice to contract a product and a sum into one rounding.
target_compile_options(t5g_flags INTERFACE -ffp-contract=off)
# What nobody calls is left out of libraries and modules.
target_compile_options(t5g_flags INTERFACE $<$<CONFIG:Release>:-ffunction-sections;-fdata-sections>)
if(T5G_SANITIZE)
  target_compile_options(t5g_flags INTERFACE -fsanitize=${T5G_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(t5g_flags INTERFACE -fsanitize=${T5G_SANITIZE})
endif()

function(t5g_floor name)
  cmake_parse_arguments(ARG HAS_NO_LOOPS "" "SOURCES;USES;ALONE" ${ARGN})
  add_library(t5g_${name} STATIC ${ARG_SOURCES})
  set_source_files_properties(${ARG_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  set_property(GLOBAL APPEND PROPERTY T5G_FLOORS ${name})
  target_include_directories(t5g_${name} PUBLIC ${PROJECT_SOURCE_DIR}/csrc)
  target_link_libraries(t5g_${name} PRIVATE $<BUILD_INTERFACE:t5g_flags>)
  if(ARG_HAS_NO_LOOPS)
    target_compile_options(t5g_${name} PRIVATE $<$<CONFIG:Release>:-O2>)
  endif()
  foreach(floor IN LISTS ARG_USES)
    target_link_libraries(t5g_${name} PUBLIC t5g_${floor})
  endforeach()
endfunction()
