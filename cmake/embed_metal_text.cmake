# cmake -DPYTHON=... -DCSRC=... -DOUTPUT=x.cc -P embed_metal_text.cmake: the kernels' text as a string of C++.
execute_process(COMMAND ${PYTHON} ${CSRC}/kernels/gpu/one_text.py ${CSRC} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
file(WRITE ${OUTPUT} "#include \"ops/metal/metal_gpu.h\"\n
namespace t5g::metal {\n
const char* const kKernelText = R\"t5g(${text})t5g\";\n
}  // namespace t5g::metal\n")
