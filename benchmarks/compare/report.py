"""The comparison as a Markdown table and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from work import Work

PEERS = ("llama.cpp", "ctranslate2", "transformers")


def _work(row: dict[str, Any]) -> Work:
    return Work(*(row[field] for field in Work._fields))


def _speed(row: dict[str, Any], seconds: float) -> str:
    """Tokens per second; seconds for an image."""
    if row["kind"] == "image":
        return f"{seconds:.2f} s"
    tokens = row["source_tokens"] if row["kind"] == "encode" else row["batch"]
    return f"{tokens / seconds:,.1f}"


def markdown(facts: dict[str, Any]) -> str:
    """Return tokens/s of t5g, and of each peer with t5g's speed as a multiple of it."""
    head = ["shape", "type", "work", "t5g", *PEERS]
    lines = ["| " + " | ".join(head) + " |", "| --- | --- | --- |" + " ---: |" * (len(head) - 3)]
    for row in facts["rows"]:
        ours = row["medians"]["t5g"]
        cells = [row["shape"], row["type"], _work(row).label(), _speed(row, ours)]
        for peer in PEERS:
            theirs = row["medians"].get(peer)
            cells.append(f"{_speed(row, theirs)} (**{theirs / ours:.2f} x**)" if theirs else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(facts: dict[str, Any], path: Path) -> None:
    """Draw how many times as fast as each peer t5g is."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [
        (f"{row['shape']} {row['type']}: {_work(row).label()}", peer, row["medians"][peer] / row["medians"]["t5g"])
        for row in facts["rows"]
        for peer in PEERS
        if peer in row["medians"]
    ]
    labels = list(dict.fromkeys(label for label, _, _ in bars))
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.42 * len(labels)))
    for i, peer in enumerate(PEERS):
        mine = [(labels.index(label), ratio) for label, p, ratio in bars if p == peer]
        places = [place + (i - 1) * 0.26 for place, _ in mine]
        drawn = axes.barh(places, [ratio for _, ratio in mine], height=0.24, label=f"against {peer}")
        axes.bar_label(drawn, fmt="%.1f", padding=2, fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the peer")
    axes.set_title(f"t5g {facts['commit']}, {facts['threads']} threads, {facts['cpu']}, {facts['date']}", fontsize=9)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
