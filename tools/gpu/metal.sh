#!/usr/bin/env bash
# Checks the GPU kernels as Metal's compiler would see them, as far as clang can: tools/gpu/metal.sh [CSRC]. Needs no Mac.
# C++ for OpenCL has Metal's address spaces, and tools/gpu/metal_stub its library, without definitions. Every kernel of
# kernels.inc must be there. Apple's own compiler has never seen them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
csrc=${1:-$here/../../csrc}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
python=${PYTHON:-python3}
"$python" "$csrc/kernels/gpu/one_text.py" "$csrc" > "$out/kernels.metal"
"$python" "$here/address_spaces.py" "$csrc/kernels/gpu"
grep -q __METAL_VERSION__ "$out/kernels.metal"
clang=${CLANG:-clang++-19}
"$clang" -x clcpp -cl-std=clc++2021 -target spir64 -cl-no-stdinc -O0 -emit-llvm -S -o "$out/kernels.ll" -Wall -Wextra -Werror \
  -Wno-unknown-attributes -Wno-ignored-attributes -Wno-undefined-inline -Wno-undefined-internal -Wno-unused-function \
  -Wno-unused-parameter -Wno-unknown-pragmas -Wno-unused-const-variable -D__METAL_VERSION__=310 -I"$here/metal_stub" "$out/kernels.metal"
# Functions of no namespace are kernels.
sed -n 's/^define dso_local spir_func void @_Z[0-9]*\([A-Za-z][A-Za-z0-9_]*\)RU3AS2K.*/\1/p' "$out/kernels.ll" | sort > "$out/compiled"
printf '%s\n' '#define GPU_KERNEL(name, ...) kernel: name' '#include "kernels/gpu/kernels.inc"' |
  "$clang" -x c++ -E -P -I "$csrc" - | sed -n 's/kernel: /\n/gp' | grep -oE '^\w+' | sort > "$out/listed"
diff "$out/listed" "$out/compiled" || { echo "Metal: other kernels than kernels.inc has"; exit 1; }
echo "Metal: $(wc -l < "$out/compiled") kernels, $(wc -c < "$out/kernels.metal") bytes, no complaint"
