#!/usr/bin/env bash
# Runs native tests on x86 CPUs other than this one, under qemu-x86_64: every kernel that such a CPU uses, and tiny models
# from source to text, whose logits must have the bits that they have here.
#
#   tools/checks/x86_programs_under_qemu.sh build/release Nehalem Haswell     a build with T5G_BUILD_NATIVE_TESTS, then
#                                                                             CPUs of `qemu-x86_64 -cpu help`
#
# Needs qemu-user. PYTHON names a Python with numpy. What Python tests find there, old_x86_under_qemu.sh finds, in minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

PROGRAMS=$1/tests/native
WORK=$PWD/build/x86
shift

mkdir -p "$WORK"
mapfile -t GOLDENS < <("${PYTHON:-.venv/bin/python}" tools/checks/golden_arrays.py "$WORK/goldens")
"$PROGRAMS/golden_models" "${GOLDENS[@]}" | tee "$WORK/here.txt"
for cpu in "$@"; do
  echo "-- $cpu"
  qemu-x86_64 -cpu "$cpu" "$PROGRAMS/kernels_selftest" --brief
  qemu-x86_64 -cpu "$cpu" "$PROGRAMS/golden_models" "${GOLDENS[@]}" | diff "$WORK/here.txt" -
done
