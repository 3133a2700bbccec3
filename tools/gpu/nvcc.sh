#!/usr/bin/env bash
# Prints the path of a CUDA compiler: $T5G_NVCC, the one on PATH or in /usr/local/cuda, or that of NVIDIA's wheels (the
# dependency group `cuda`), which are installed into build/nvcc where there is none. No GPU or driver is needed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
found=${T5G_NVCC:-$(command -v nvcc || true)}
[ -n "$found" ] || { [ -x /usr/local/cuda/bin/nvcc ] && found=/usr/local/cuda/bin/nvcc; }
if [ -z "$found" ]; then
  env=$root/build/nvcc
  [ -x "$env/bin/python" ] || "${PYTHON:-python3}" -m venv "$env"
  (cd "$root" && "$env/bin/python" -m pip install -q -U "pip>=25.1" && "$env/bin/python" -m pip install -q --group cuda) >&2
  found=$(find "$env" -path '*/bin/nvcc' | head -n 1)
fi
echo "$found"
