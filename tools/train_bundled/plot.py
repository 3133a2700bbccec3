"""The loss curve of a run, one colour for each stage, and its scores on the validation split."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def plot_losses(log: Path, out: Path) -> None:
    """Draw ``log`` (log.jsonl of a run) into the PNG file ``out``."""
    if not log.exists():
        return
    with log.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    figure, axis = plt.subplots(figsize=(8, 4.5))
    scores = axis.twinx()
    offset = 0
    for stage in dict.fromkeys(r["stage"] for r in rows):
        mine = [r for r in rows if r["stage"] == stage]
        curve = [(offset + r["step"], r["loss"]) for r in mine if "loss" in r]
        axis.plot(*zip(*curve, strict=True), label=stage, linewidth=1)
        points = [(offset + r["step"], r["rougeL"]) for r in mine if "rougeL" in r]
        if points:
            scores.plot(*zip(*points, strict=True), "k.--", linewidth=0.5)
        offset += max(r["step"] for r in mine)
    axis.set(xlabel="step", ylabel="training loss (nats per token)", ylim=(0, None))
    scores.set_ylabel("validation ROUGE-L F1 (dots)")
    scores.set_ylim(0, 50)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=6, frameon=False)  # not over the scores
    figure.tight_layout()
    figure.savefig(out, dpi=120)
    plt.close(figure)
