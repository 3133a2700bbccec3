#!/usr/bin/env bash
# Runs pytest on ARM: a cross-built module in a real aarch64 CPython, unpacked from Debian's packages, under qemu-aarch64.
#
#   tools/checks/arm_under_qemu.sh tests/kernels -x       arguments are pytest's
#   T5G_QEMU_CPU=cortex-a53 tools/checks/arm_under_qemu.sh    another CPU than the default "max"
#   T5G_WHEEL=x.whl tools/checks/arm_under_qemu.sh            a wheel instead of what is built here
#
# Needs qemu-user and g++-aarch64-linux-gnu (Debian 12). PYTHON names a Python with pip, cmake, ninja and pybind11.
# Everything is kept in build/arm, so that only the first run downloads.
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-.venv/bin/python}
WORK=$PWD/build/arm
ROOT=$WORK/root       # the aarch64 system
PACKAGES=$WORK/pypi   # aarch64 wheels
SITE=$WORK/site       # t5g, cross-built
VERSION=3.11          # Debian 12's

fetch_system() {
  local apt=$WORK/apt
  mkdir -p "$apt"/{lists,cache}/partial "$ROOT"
  : > "$apt/status"
  local options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
    -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache"
    -o Dir::Cache::archives="$apt/cache" -o Debug::NoLocking=1)
  apt-get "${options[@]}" update
  apt-get "${options[@]}" install -y --no-install-recommends --download-only \
    "python$VERSION-minimal" "libpython$VERSION-stdlib" "libpython$VERSION-dev" libstdc++6
  local deb
  for deb in "$apt"/cache/*.deb; do dpkg -x "$deb" "$ROOT"; done
  touch "$WORK/system.done"
}

fetch_packages() {
  "$PYTHON" -m pip install -q --target "$PACKAGES" --only-binary=:all: --implementation cp --python-version "$VERSION" \
    --platform manylinux_2_17_aarch64 --platform manylinux_2_28_aarch64 --platform manylinux_2_34_aarch64 --platform any \
    "numpy" "pytest>=8" "hypothesis>=6" "gguf>=0.17" "sentencepiece>=0.2" "tqdm>=4.60"
  touch "$WORK/packages.done"
}

build_module() {
  "$PYTHON" -m cmake -S . -B "$WORK/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DT5G_WERROR=ON -DT5G_TESTING=ON -DCMAKE_UNITY_BUILD=ON \
    -DCMAKE_MAKE_PROGRAM="$("$PYTHON" -c 'import ninja; print(ninja.BIN_DIR + "/ninja")')" \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
    -DPython_INCLUDE_DIR="$ROOT/usr/include/python$VERSION" -DPython_SOABI="cpython-${VERSION/./}-aarch64-linux-gnu" \
    -DCMAKE_CXX_FLAGS="-isystem $ROOT/usr/include" -Dpybind11_DIR="$("$PYTHON" -m pybind11 --cmakedir)" > "$WORK/configure.log"
  "$PYTHON" -m cmake --build "$WORK/build" | tail -n 1
  rm -rf "$SITE"
  mkdir -p "$SITE"
  cp -r python/t5g convert/t5g_convert "$SITE/"
  rm -f "$SITE"/t5g/*.so
  "$PYTHON" -m cmake --install "$WORK/build" --prefix "$SITE" --component python > /dev/null
}

unpack_wheel() {
  rm -rf "$SITE"
  "$PYTHON" -m zipfile -e "$1" "$SITE"
}

write_wrapper() {
  cat > "$WORK/python" <<WRAPPER
#!/bin/sh
exec qemu-aarch64 -cpu "\${T5G_QEMU_CPU:-max}" -L "$ROOT" "$ROOT/usr/bin/python$VERSION" "\$@"
WRAPPER
  chmod +x "$WORK/python"
}

mkdir -p "$WORK"
[ -e "$WORK/system.done" ] || fetch_system
[ -e "$WORK/packages.done" ] || fetch_packages
if [ -n "${T5G_WHEEL:-}" ]; then unpack_wheel "$T5G_WHEEL"; else build_module; fi
write_wrapper
export T5G_EMULATED_PYTHON=$WORK/python PYTHONPATH=$SITE:$PACKAGES:$PWD/tools/checks/emulation PYTHONDONTWRITEBYTECODE=1
"$WORK/python" -c 'import platform, t5g; print("t5g", t5g.__version__, "on", platform.machine(), t5g.__file__)'
exec "$WORK/python" -m pytest -p no:cacheprovider "$@"
