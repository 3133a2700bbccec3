"""The comparison as a Markdown table, which docs/performance.md shows, and as an image of the ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from t5g._files import writing
from work import Work

PEERS = {"llama.cpp": "llama.cpp", "ctranslate2": "CTranslate2", "transformers": "transformers"}
SHAPES = {"270m": "270M", "1b": "1B", "image": "270M"}  # the image tower is the same in all sizes
COLOURS = {"llama.cpp": "C0", "ctranslate2": "C1", "transformers": "C2"}


def _work(row: dict[str, Any]) -> Work:
    return Work(*(row[field] for field in Work._fields))


def _speed(row: dict[str, Any], seconds: float) -> str:
    """Tokens per second; seconds for an image."""
    if row["kind"] == "image":
        return f"{seconds:.1f} s"
    tokens = row["source_tokens"] if row["kind"] == "encode" else row["batch"]
    speed = tokens / seconds
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"


def markdown(facts: dict[str, Any]) -> str:
    """Return tokens/s of t5g and of each peer."""
    head = ["model", "type", "work", "t5g", *PEERS.values()]
    lines = ["| " + " | ".join(head) + " |", "| --- | --- | --- |" + " ---: |" * (len(head) - 3)]
    for row in facts["rows"]:
        medians = row["medians"]
        speeds = [_speed(row, medians[peer]) if peer in medians else "-" for peer in ("t5g", *PEERS)]
        lines.append("| " + " | ".join([SHAPES[row["shape"]], row["type"], _work(row).label(), *speeds]) + " |")
    return "\n".join(lines)


def plot(facts: dict[str, Any], path: Path) -> None:
    """Draw how many times as fast as each peer t5g is: a group of bars for each piece of work."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    width = 0.26
    labels, places, top = [], [], 0.0
    figure, axes = pyplot.subplots(figsize=(9, 11))
    for row in facts["rows"]:
        mine = [peer for peer in PEERS if peer in row["medians"]]
        for i, peer in enumerate(mine):
            ratio = row["medians"][peer] / row["medians"]["t5g"]
            bar = axes.barh(top + i * width, ratio, height=0.92 * width, color=COLOURS[peer])
            axes.bar_label(bar, fmt="%.1f", padding=2, fontsize=7)
        labels.append(f"{SHAPES[row['shape']]} {row['type']}: {_work(row).label()}")
        places.append(top + (len(mine) - 1) * width / 2)
        top += (len(mine) + 1.2) * width
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(places, labels, fontsize=8)
    axes.set_ylim(top - width, -2 * width)
    axes.set_xlabel("how many times as fast as the peer (at the line: as fast)")
    axes.set_title(f"t5g beside its peers: {facts['threads']} threads, {facts['cpu']}, {facts['date']}", fontsize=10)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[peer]) for peer in PEERS]
    axes.legend(handles, PEERS.values(), fontsize=8, loc="lower right")
    figure.tight_layout()
    with writing(path) as file:
        figure.savefig(file, format="png", dpi=110)
