#!/usr/bin/env bash
# Checks the GPU kernels as Metal's compiler would see them, as far as clang can: tools/gpu/metal.sh [CSRC]. Needs no Mac.
# C++ for OpenCL has Metal's address spaces, and tools/gpu/metal_stub its library, without definitions. Apple's own
# compiler has never seen the kernels.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
csrc=${1:-$here/../../csrc}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
python=${PYTHON:-python3}
"$python" "$csrc/kernels/gpu/one_text.py" "$csrc" > "$out/kernels.metal"
"$python" "$here/address_spaces.py" "$csrc/kernels/gpu"
grep -q __METAL_VERSION__ "$out/kernels.metal"
"${CLANG:-clang++-19}" -x clcpp -cl-std=clc++2021 -target spir64 -cl-no-stdinc -fsyntax-only -Wall -Wextra -Werror \
  -Wno-unknown-attributes -Wno-ignored-attributes -Wno-undefined-inline -Wno-undefined-internal -Wno-unused-function \
  -Wno-unused-parameter -Wno-unknown-pragmas -Wno-unused-const-variable -D__METAL_VERSION__=310 -I"$here/metal_stub" "$out/kernels.metal"
grep -oE "^GPU_KERNEL\(|kernel void \w+" "$out/kernels.metal" > /dev/null
echo "Metal: $(wc -c < "$out/kernels.metal") bytes, no complaint"
