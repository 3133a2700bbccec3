#!/usr/bin/env bash
# Compiles what a Mac runs of the GPU's host side for arm64 macOS, and links its checks, on any machine: with zig, which
# brings the headers and stubs (pip install ziglang). PYTHON names a Python that has it. Nothing is run.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
out=$PWD/build/macos_host
mkdir -p "$out"
export ZIG_GLOBAL_CACHE_DIR=$out/cache ZIG_LOCAL_CACHE_DIR=$out/cache  # nobody else's: two that write to one can fail
compile=("$PYTHON" -m ziglang c++ -target aarch64-macos.14.0 -std=c++20 -O1 -Wall -Wextra -Wshadow -Werror -Icsrc -Itests/native)

cmake -DPYTHON="$PYTHON" -DCSRC="$PWD/csrc" -DOUTPUT="$out/metal_kernel_text.cc" -P cmake/embed_metal_text.cmake
host=(csrc/ops/metal/{objc,metal_gpu,metal_driver}.cc csrc/ops/gpu/{messages,probe}.cc csrc/base/{error,message,printable,utf8}.cc csrc/base/os/posix/process.cc
  "$out/metal_kernel_text.cc")
"${compile[@]}" "${host[@]}" tests/native/driver_checks.cc -o "$out/driver_checks"
file "$out/driver_checks" | grep -q "Mach-O 64-bit arm64 executable"

# The backend above it.
for file in csrc/ops/metal/metal_backend.cc csrc/ops/gpu/*.cc csrc/ops/backends.cc csrc/kernels/gpu/pack.cc; do
  "${compile[@]}" -c "$file" -o "$out/$(basename "$file").o"
done
echo "arm64 macOS: compiled and linked"
