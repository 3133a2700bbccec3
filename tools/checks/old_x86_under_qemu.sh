#!/usr/bin/env bash
# Runs pytest on x86 CPUs older than this one, under qemu-x86_64: nothing may use an instruction that the CPU lacks.
#
#   tools/checks/old_x86_under_qemu.sh Nehalem tests/kernels      a CPU of `qemu-x86_64 -cpu help`, then pytest's arguments
#
# "max,-avx" is a good trap: its CPUID still reports AVX2, but the operating system does not save the registers.
# Needs qemu-user. PYTHON names a Python in whose environment t5g (with t5g._testing) and pytest are installed (or
# see PYTHONPATH).
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
WORK=$PWD/build/x86
CPU=$1
shift

mkdir -p "$WORK"
# Python finds its environment from the path it was started by (-0), and starts its children by the wrapper again.
cat > "$WORK/python-$CPU" <<WRAPPER
#!/bin/sh
exec qemu-x86_64 -cpu "$CPU" -0 "$PYTHON" "$(realpath "$PYTHON")" "\$@"
WRAPPER
chmod +x "$WORK/python-$CPU"
export T5G_EMULATED_PYTHON="$WORK/python-$CPU" PYTHONPATH="$PWD/tools/checks/emulation${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
# NumPy's OpenBLAS takes this emulated CPU for one with AVX and dies of it.
export OPENBLAS_CORETYPE=Nehalem
exec "$WORK/python-$CPU" -m pytest -p no:cacheprovider "$@"
