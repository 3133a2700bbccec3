#!/usr/bin/env bash
# Everything that a machine with a GPU of NVIDIA can say about t5g, in one run, from a fresh clone:
#
#   tools/gpu/check.sh [--quick] [--no-peers]      --quick: no benchmarks;  --no-peers: no transformers, CTranslate2, llama.cpp
#
# Needs Linux, Python 3.10 or newer with its headers and venv, a C++20 compiler and NVIDIA's driver. nvcc and
# compute-sanitizer are taken from PyPI where there are none, or nvcc is too old. LLAMA_BENCH names a llama-bench of a CUDA
# build. Writes benchmarks/results/<date>-<card>/; goes on after a failure, and ends with status 1 if there was one.
set -uo pipefail
usage=$(sed -n '2,8s/^# \{0,1\}//p' "$0")
cd "$(dirname "$0")/../.." || exit 1

quick=false peers=true
for argument in "$@"; do
  case $argument in
    --quick) quick=true ;;
    --no-peers) peers=false ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
done

WORK=$PWD/build/gpu-check
PYTHON=$WORK/env/bin/python
mkdir -p "$WORK"
card=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1) || { echo "nvidia-smi finds no GPU" >&2; exit 1; }
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "python3 is not Python 3.10 or newer" >&2; exit 1; }
OUT=$PWD/benchmarks/results/$(date +%F)-$(echo "$card" | tr -cs '[:alnum:]' '-' | sed 's/-$//' | tr '[:upper:]' '[:lower:]')
mkdir -p "$OUT"
FAILED=()

# step <name> <command>...: runs it and keeps its output in the results -> whether all went well.
step() {
  local name=$1
  shift
  printf '\n==== %s\n' "$name"
  "$@" 2>&1 < /dev/null | tee "$OUT/${name// /-}.log"
  [ "${PIPESTATUS[0]}" -eq 0 ] && return
  FAILED+=("$name")
  return 1
}

machine() {
  nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap,clocks.max.sm --format=csv
  uname -a
  git log -1 --format='commit %H of %cd'
  git status --short
}

packages() {
  [ -x "$PYTHON" ] || python3 -m venv "$WORK/env"
  "$PYTHON" -m pip install -q -U pip && "$PYTHON" -m pip install -q --group dev "numpy" "pytest>=8" "hypothesis>=6" "gguf>=0.17" \
    "sentencepiece>=0.2" "tqdm>=4.60" "Pillow>=10" "jinja2>=3.1.6" || return 1
  PYTHON=$PYTHON tools/gpu/nvcc.sh > "$WORK/nvcc" && "$(cat "$WORK/nvcc")" --version
}

build() {
  export VIRTUAL_ENV=$WORK/env PATH=$WORK/env/bin:$PATH
  cmake -S . -B "$WORK/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DT5G_CUDA=ON -DT5G_EMULATED_GPU=ON \
    -DT5G_NVCC="$(cat "$WORK/nvcc")" -DT5G_TESTING=ON -DT5G_BUILD_NATIVE_TESTS=ON \
    -DPython_EXECUTABLE="$PYTHON" > "$WORK/cmake.log" && cmake --build "$WORK/build"
}

# The device itself, then every op beside the portable CPU.
probe() { "$WORK/build/tests/native/driver_checks" cuda; }
conformance() { "$WORK/build/tests/native/conformance" cuda; }

goldens() { PYTHONPATH=python "$PYTHON" -m pytest tests/model/test_parity.py -k cuda; }

# What holds whatever the device: as .ci/run asks the emulated one. Not how much memory the host keeps.
runtime() {
  PYTHONPATH=python T5G_DEVICE=cuda "$PYTHON" -m pytest tests/runtime/test_quantized.py tests/runtime/test_generate.py tests/runtime/test_sources.py \
    tests/runtime/test_image_sources.py tests/runtime/test_adapters.py tests/runtime/test_closing.py tests/runtime/test_greedy.py \
    tests/runtime/test_source_cache.py -m "not slow and not oracle" \
    --deselect tests/runtime/test_closing.py::test_the_memory_is_gone
}

# Prints the path of NVIDIA's sanitizer, or nothing.
find_sanitizer() {
  command -v compute-sanitizer && return
  ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null && return
  "$PYTHON" -m pip install -q 'nvidia-cuda-sanitizer-api==13.0.*' >&2
  find "$WORK/env" -path '*/bin/compute-sanitizer' | head -n 1
}

# sanitizer <tool>: every op, and a whole tiny model of each family.
sanitizer() {
  local model
  "$SANITIZER" --tool "$1" --error-exitcode 9 "$WORK/build/tests/native/conformance" cuda || return 1
  for model in v1-mqa-w5 v2-images; do
    PYTHONPATH=python "$SANITIZER" --tool "$1" --target-processes all --error-exitcode 9 \
      "$PYTHON" -m t5g.cli.bench --check --device cuda "tests/goldens/$model.gguf" || return 1
  done
}

against_the_cpu() { PYTHONPATH=python "$PYTHON" -m t5g.cli.bench --check --device cuda; }

peer_packages() {
  "$PYTHON" -m pip install -q torch transformers==5.23.0 accelerate tokenizers safetensors matplotlib ctranslate2
}

oracles() { PYTHONPATH=python T5G_DEVICE=cuda "$PYTHON" -m pytest -m oracle tests/model; }

beside_transformers() { PYTHONPATH=python "$PYTHON" tools/gpu/parity.py --dir "$WORK/files" --json "$OUT/parity.json"; }

benchmarks() {
  PYTHONPATH=python "$PYTHON" benchmarks/gpu.py --dir "$WORK/files" --json "$OUT/speed.json" \
    $($peers && echo --peers) ${LLAMA_BENCH:+--llama-bench "$LLAMA_BENCH"}
}

step machine machine
if step packages packages && step build build; then
  step probe probe
  step conformance conformance
  step goldens goldens
  step runtime runtime
  SANITIZER=$(find_sanitizer)
  if [ -n "$SANITIZER" ]; then
    for tool in memcheck racecheck synccheck initcheck; do step "sanitizer $tool" sanitizer "$tool"; done
  else
    echo "no compute-sanitizer: left out"
  fi
  step "against the cpu" against_the_cpu
  if $peers; then
    step "peer packages" peer_packages
    step oracles oracles
    step "beside transformers" beside_transformers
  fi
  $quick || step benchmarks benchmarks
fi

printf '\n==== %s, %s: results in %s\n' "$card" "$(date +%F)" "${OUT#"$PWD/"}"
if [ ${#FAILED[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${FAILED[@]}"
  exit 1
fi
echo "all steps passed"
