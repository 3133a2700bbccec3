# The GPU kernels as one text in Metal's language, embedded into the library: a Mac compiles it when it first uses its GPU.
function(t5g_embed_metal_kernels target)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
  file(GLOB kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/kernels/gpu/*)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/metal_kernel_text.cc)
  add_custom_command(OUTPUT ${source}
    COMMAND ${CMAKE_COMMAND} -DPYTHON=${Python_EXECUTABLE} -DCSRC=${PROJECT_SOURCE_DIR}/csrc -DOUTPUT=${source}
            -P ${PROJECT_SOURCE_DIR}/cmake/embed_metal_text.cmake
    DEPENDS ${kernels} ${PROJECT_SOURCE_DIR}/cmake/embed_metal_text.cmake COMMENT "Metal kernels" VERBATIM)
  target_sources(${target} PRIVATE ${source})
endfunction()
