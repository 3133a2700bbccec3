#!/usr/bin/env bash
# Prints the path of a CUDA compiler that is new enough (cmake/cuda.cmake says how new): $T5G_NVCC, the one on PATH or in
# /usr/local/cuda, or that of NVIDIA's wheels (the dependency group `cuda`), which are installed into build/nvcc where
# there is none. No GPU or driver is needed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
oldest=$(sed -n 's/^set(T5G_OLDEST_NVCC \([0-9.]*\))$/\1/p' "$root/cmake/cuda.cmake")

# is_new_enough <nvcc>: says why where it is not.
is_new_enough() {
  local version
  version=$("$1" --version 2> /dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p') || true
  [ "$(printf '%s\n' "$oldest" "${version:-0}" | sort -V | head -n 1)" = "$oldest" ] && return
  echo "passed over: $1 is ${version:-no nvcc}, and $oldest or later is needed" >&2
  return 1
}

for found in "${T5G_NVCC:-}" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
  [ -x "$found" ] && is_new_enough "$found" && echo "$found" && exit
done
env=$root/build/nvcc
[ -x "$env/bin/python" ] || "${PYTHON:-python3}" -m venv "$env"
(cd "$root" && "$env/bin/python" -m pip install -q -U "pip>=25.1" && "$env/bin/python" -m pip install -q --group cuda) >&2
found=$(find "$env" -path '*/bin/nvcc' | head -n 1)
[ -n "$found" ] && echo "$found"
