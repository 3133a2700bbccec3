#!/usr/bin/env bash
# Runs pytest on a module built with AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   tools/checks/asan.sh tests/gguf -x        arguments are pytest's; PYTHON names a Python with cmake, pybind11 and pytest
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
SITE=$PWD/build/asan/site
export PATH=$(dirname "$PYTHON"):$PATH

cmake --preset asan -DPython_EXECUTABLE="$PYTHON" > /dev/null
cmake --build --preset asan | tail -n 1
rm -rf "$SITE"
mkdir -p "$SITE"
cp -r python/t5g convert/t5g_convert "$SITE/"
rm -f "$SITE"/t5g/*.so
cmake --install build/asan --prefix "$SITE" --component python > /dev/null

# Python itself is not instrumented, so the run-times come first; libstdc++ too, or exceptions are not intercepted.
# Their reports go to the real stderr, which pytest must therefore not capture.
# GPU kernels on the CPU change stacks, which would make fake stacks for use after return cost more than all else.
# Python keeps memory until it exits, which is no leak of ours. Leaks of the library are the native tests' to find.
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so) $(g++ -print-file-name=libstdc++.so)" \
  ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
  PYTHONPATH=$SITE exec "$PYTHON" -m pytest --capture=sys -p no:cacheprovider "$@"
