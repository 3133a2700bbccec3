#!/usr/bin/env bash
# Runs pytest on a module with the emulated GPU, and T5G_DEVICE=emulated.
#
#   tools/checks/emulated_gpu.sh tests/runtime -x        arguments are pytest's; PYTHON names a Python with cmake, pybind11 and pytest
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
SITE=$PWD/build/emulated/site
export PATH=$(dirname "$PYTHON"):$PATH

# As for a wheel: the module in python/t5g is that of another build.
cmake -S . -B build/emulated -DSKBUILD=ON -G Ninja -DCMAKE_BUILD_TYPE=Release -DT5G_WERROR=ON -DT5G_EMULATED_GPU=ON \
  -DPython_EXECUTABLE="$PYTHON" > /dev/null
cmake --build build/emulated | tail -n 1
rm -rf "$SITE"
mkdir -p "$SITE"
cp -r python/t5g convert/t5g_convert "$SITE/"
rm -f "$SITE"/t5g/*.so
cmake --install build/emulated --prefix "$SITE" > /dev/null

T5G_DEVICE=emulated PYTHONPATH=$SITE exec "$PYTHON" -m pytest -p no:cacheprovider "$@"
