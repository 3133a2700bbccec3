"""Measures what each type costs: quantises an f32 file to every type, evaluates them, prints a table and plots.

    python tools/quantisation_table.py model-f32.gguf test.jsonl --limit 300 --json FILE --plot docs/quantisation.png

Needs t5g[convert,eval], and matplotlib for the plot. FILE: benchmarks/results/DATE/quantisation.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import t5g
from t5g._files import write_text, writing
from t5g.evaluation import Pair, evaluate, read_pairs

# Every type; those below 8 bits as a preset, which keeps sensitive tensors wider, and pure.
VARIANTS = [("f32", True), ("bf16", True), ("q8_0", True)]
VARIANTS += [(name, pure) for name in ("q5_1", "q5_0", "q4_1", "q4_0") for pure in (False, True)]


def measure(f32: Path, name: str, pure: bool, pairs: list[Pair], folder: Path) -> dict[str, Any]:
    path = f32
    if name != "f32":
        path = folder / "variant.gguf"
        t5g.quantize(f32, path, name, pure=pure)
    with t5g.Model(path) as model, t5g.Model(f32) as reference:
        result = asdict(evaluate(model, pairs, reference=reference))
    del result["outputs"]
    label = name if pure and name in ("f32", "bf16", "q8_0") else f"{name} {'pure' if pure else 'preset'}"
    return {"variant": label, "size_mb": path.stat().st_size / 1e6, **result}


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| type | MB | KL divergence | top-1 agreement | loss | ROUGE-L | word error rate |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for r in rows:
        lines.append(
            f"| {r['variant']} | {r['size_mb']:.2f} | {r['kl_divergence']:.5f} | {r['top1_agreement']:.2f} % | "
            f"{r['loss']:.4f} | {r['rougeL']:.2f} | {100 * r['word_error_rate']:.2f} % |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    colours: dict[str, str] = {}
    for r in (r for r in rows if r["kl_divergence"] > 0):
        name, _, kind = r["variant"].partition(" ")
        colour = colours.setdefault(name, f"C{len(colours)}")
        marker = {"preset": "o", "pure": "s"}.get(kind, "^")
        axes.plot(r["size_mb"], r["kl_divergence"], marker, color=colour, linestyle="", label=r["variant"])
    axes.set(yscale="log", xlabel="file size, MB", ylabel="KL divergence from f32, nats per token")
    axes.set_title("What a smaller type costs: the bundled model")
    axes.grid(alpha=0.3)
    axes.legend()
    with writing(path) as file:
        figure.savefig(file, format="png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("f32", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("--plot", type=Path, help="write a PNG image here")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    pairs = read_pairs(arguments.pairs, limit=arguments.limit)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for name, pure in VARIANTS:
            rows.append(measure(arguments.f32, name, pure, pairs, Path(folder)))
            print(f"{rows[-1]['variant']} measured", file=sys.stderr, flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        facts = {"date": datetime.date.today().isoformat(), "rows": rows}
        write_text(arguments.json, json.dumps(facts, indent=1) + "\n")
    print(table(rows), end="")
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
