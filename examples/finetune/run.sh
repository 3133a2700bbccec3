#!/usr/bin/env bash
# The whole way on a CPU, in a few minutes: base, fine-tuning, merged and apart, quantised, evaluated before and after.
#     examples/finetune/run.sh [FOLDER]
# Needs pip install 't5g[convert,eval]' torch transformers peft tokenizers. PYTHON names the interpreter.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-finetune}
python=${PYTHON:-python3}
t5g() { local command=$1; shift; "$python" -m "t5g.cli.$command" "$@"; }
evaluate() { t5g eval "$@" "$here/data/test.jsonl" --json -n 32; }
mkdir -p "$work"

echo "== the base, and how good it is before"
"$python" "$here/base.py" "$work/base"
t5g convert "$work/base" -o "$work/base.gguf" --type f32
evaluate "$work/base.gguf" | tee "$work/before.json"

echo "== fine-tuning"
"$python" "$here/finetune.py" --base "$work/base" --train "$here/data/train.jsonl" --out "$work/adapter" \
  --epochs 2 --learning-rate 3e-3

echo "== merged into the base"
t5g convert "$work/adapter" --base "$work/base" -o "$work/merged.gguf" --type f32
evaluate "$work/merged.gguf" | tee "$work/merged.json"

echo "== merged and quantised"
t5g quantize "$work/merged.gguf" "$work/merged-q8_0.gguf" q8_0
evaluate "$work/merged-q8_0.gguf" --reference "$work/merged.gguf" | tee "$work/quantised.json"

echo "== kept apart, on the base"
t5g convert "$work/adapter" --adapter --base "$work/base" -o "$work/adapter.gguf"
evaluate "$work/base.gguf" --lora "$work/adapter.gguf" | tee "$work/apart.json"
t5g run "$work/base.gguf" --lora "$work/adapter.gguf" -p "gale is a fast viewer for maps, written in Rust. It shows maps \
and can be used from the command line or by other programs. This package contains the viewer."

"$python" "$here/compare.py" "$work"
