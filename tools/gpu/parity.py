"""t5g on a GPU beside transformers on the same one: how far both are from transformers in float32.

    python tools/gpu/parity.py --dir SCRATCH [--device cuda] [--torch-device cuda] [--shape 270m] [--json OUT]

Makes a random bfloat16 checkpoint of a released shape in SCRATCH, and t5g's files of it. Weights that are random are
harder than trained ones: no text makes sense, so the best token often wins by little. Ends with status 1 where t5g in
f32 is further off than 1e-3 of the largest value, or in bf16 further than three times what transformers is in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "compare"))
import models
import t5g
from t5g._files import write_text
from work import source_ids

LENGTHS = (16, 512, 2048)
TARGET = [2, *range(1000, 1031)]
F32_LIMIT, BF16_RATIO = 1e-3, 3.0


def reference(folder: Path, dtype: str, device: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Hidden states and logits of transformers, for each length."""
    import torch
    import transformers as tf

    torch.set_grad_enabled(False)
    model: Any = tf.T5Gemma2ForConditionalGeneration.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    model = model.to(device)
    answers = []
    for n in LENGTHS:
        ids = torch.tensor([source_ids(n)], device=device)
        out = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            decoder_input_ids=torch.tensor([TARGET], device=device),
        )
        answers.append((out.encoder_last_hidden_state[0].float().cpu().numpy(), out.logits[0].float().cpu().numpy()))
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return answers


def ours(path: Path, device: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same of t5g."""
    with t5g.Model(path, device=device) as model:
        sources = [model.encode(source_ids(n)) for n in LENGTHS]
        return [(source.hidden_states, model.logits(source, TARGET)) for source in sources]


def worst(found: list[tuple[np.ndarray, np.ndarray]], expected: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Largest relative error of hidden states and of logits."""
    return [
        max(float(np.abs(f[k] - e[k]).max() / np.abs(e[k]).max()) for f, e in zip(found, expected, strict=True))
        for k in (0, 1)
    ]


def main() -> int:
    """Compare, print a table, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--torch-device", default="cuda")
    parser.add_argument("--shape", default="270m")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    checkpoint = models.checkpoint(arguments.dir, arguments.shape)
    expected = reference(checkpoint, "float32", arguments.torch_device)
    rows = {"transformers bfloat16": worst(reference(checkpoint, "bfloat16", arguments.torch_device), expected)}
    for kind in ("f32", "bf16", "q8_0", "q4_0"):
        path = arguments.dir / f"parity-{arguments.shape}-{kind}.gguf"
        if not path.exists():
            t5g.convert(checkpoint, path, type=kind)
        rows[f"t5g {kind}"] = worst(ours(path, arguments.device), expected)
        rows[f"t5g {kind}, cpu"] = worst(ours(path, "cpu"), expected)
    print(f"{'from transformers float32':<28}{'hidden states':>15}{'logits':>12}")
    for name, (hidden, logits) in rows.items():
        print(f"{name:<28}{hidden:>15.1e}{logits:>12.1e}")
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(rows, indent=2) + "\n")
    bf16 = rows["transformers bfloat16"]
    faults = [
        name
        for k, name in enumerate(("hidden states", "logits"))
        if rows["t5g f32"][k] > F32_LIMIT or rows["t5g bf16"][k] > BF16_RATIO * bf16[k]
    ]
    print(f"too far off: {', '.join(faults)}" if faults else "near enough")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
