"""What was found: a table of lengths and depths, effective lengths, and a heat map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# RULER: what Llama 2 7B scores at 4K; a length counts as long as a model is better.
RULER_THRESHOLD = 85.6
_SHARE_OF_SHORTEST = 0.85
# What choosing blindly finds: of four right ones among eleven, of three among eight; else of one among eight.
_CHANCE = {"multivalue": 400 / 11, "words": 300 / 8}

Table = dict[int, dict[float, float]]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _table(rows: Sequence[dict[str, Any]], score: str) -> Table:
    """Means in per cent, by length and depth."""
    found: dict[int, dict[float, list[float]]] = {}
    for row in rows:
        found.setdefault(row["length"], {}).setdefault(row["depth"], []).append(100 * row[score])
    return {length: {depth: _mean(v) for depth, v in sorted(of.items())} for length, of in sorted(found.items())}


@dataclass(frozen=True)
class Report:
    """Scores of one task.

    Attributes
    ----------
    task
        The task.
    tables
        By kind of score (``"choice"``: the right answer's log-probability is the largest; ``"generate"``: it is in a
        generated text), then by length and depth: 0 to 100.
    effective_length
        By kind: the longest length up to which the score is at least 85 % of that at the shortest; 0 where even that
        is no better than chance.
    ruler_length
        By kind: the longest length up to which the score is at least 85.6, as RULER defines it; 0: none.
    reference
        By kind, what the reference scores more than the model at each length; and the difference of the right answers'
        log-probabilities under ``"logprob"``. ``None`` without a reference.
    n_examples
        How many were run.
    """

    task: str
    tables: dict[str, Table]
    effective_length: dict[str, int]
    ruler_length: dict[str, int]
    reference: dict[str, dict[int, float]] | None
    n_examples: int

    @classmethod
    def of(cls, task: str, rows: Sequence[dict[str, Any]]) -> Report:
        """From finished examples."""
        kinds: list[str] = [kind for kind in ("choice", "generate") if kind in rows[0]]
        tables = {kind: _table(rows, kind) for kind in kinds}
        chance = {"choice": _CHANCE.get(task, 100 / 8), "generate": 0.0}
        by_length = {kind: _by_length(tables[kind]) for kind in kinds}
        reference = None
        if "reference" in rows[0]:
            theirs = [{**row, **row["reference"]} for row in rows]
            reference = {}
            for kind in [*kinds, "logprob"]:
                mine, other = _by_length(_table(rows, kind)), _by_length(_table(theirs, kind))
                unit = 100 if kind == "logprob" else 1
                reference[kind] = {length: (other[length] - mine[length]) / unit for length in mine}
        return cls(
            task=task,
            tables=tables,
            effective_length={kind: _effective(by_length[kind], chance[kind]) for kind in kinds},
            ruler_length={kind: _longest(by_length[kind], RULER_THRESHOLD) for kind in kinds},
            reference=reference,
            n_examples=len(rows),
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON: tables as lists of rows."""
        tables = {
            kind: [
                {"length": length, "score": _mean(list(of.values())), "depths": [[d, s] for d, s in of.items()]}
                for length, of in table.items()
            ]
            for kind, table in self.tables.items()
        }
        return {**self.__dict__, "tables": tables}

    def text(self) -> str:
        """Tables for people."""
        lines = []
        for kind, table in self.tables.items():
            depths = list(next(iter(table.values())))
            what = "answers preferred to wrong ones" if kind == "choice" else "answers in generated texts"
            lines.append(f"{self.task}, {what}, % ({self.n_examples} example{'s'[: self.n_examples != 1]})")
            heads = [f"{depth:.0%}" for depth in depths] if len(depths) > 1 else []
            lines.append(f"{'tokens':>9}" + "".join(f"{head:>8}" for head in heads) + f"{'all':>8}")
            for length, of in table.items():
                cells = [f"{score:8.1f}" for score in of.values()] if heads else []
                lines.append(f"{length:>9,}" + "".join(cells) + f"{_mean(list(of.values())):8.1f}")
            longest = max(table)
            lines.append(
                f"effective length: {_length(self.effective_length[kind], longest)}, 85 % of the shortest's score"
            )
            lines.append(f"RULER's: {_length(self.ruler_length[kind], longest)}, at least {RULER_THRESHOLD}")
            lines.append("")
        if self.reference is not None:
            lines.append("less than the reference, by length")
            for kind, of_length in self.reference.items():
                cells = [f"{length:,}: {lost:.2f}" for length, lost in of_length.items()]
                lines.append(f"{'nats' if kind == 'logprob' else kind + ', points'}: {', '.join(cells)}")
        return "\n".join(lines).rstrip()

    def plot(self, path: str | os.PathLike[str], title: str) -> None:
        """Draw a heat map for each kind of score as a PNG file.

        Raises
        ------
        ImportError
            matplotlib is not installed (extra ``plot``).
        """
        from t5g._files import writing

        width = max(4.5, 0.6 * max(map(len, self.tables.values())) + 1.5)
        figure = figure_class()(figsize=(width * len(self.tables), 3.6), layout="constrained")
        all_axes = figure.subplots(1, len(self.tables), squeeze=False)[0]
        for axes, (kind, table) in zip(all_axes, self.tables.items(), strict=True):
            depths = list(next(iter(table.values())))
            grid = [[of[depth] for of in table.values()] for depth in depths]
            image = axes.imshow(grid, vmin=0, vmax=100, cmap="RdYlGn", aspect="auto")
            for row, scores in enumerate(grid):
                for column, score in enumerate(scores):
                    axes.text(column, row, f"{score:.0f}", ha="center", va="center", color=_ink(score))
            axes.set_xticks(range(len(table)), [f"{length:,}" for length in table], rotation=45)
            axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
            axes.set(xlabel="source tokens", ylabel="depth", title=kind)
            figure.colorbar(image, ax=axes)
        figure.suptitle(title)
        with writing(path) as file:
            figure.savefig(file, format="png", dpi=120)


def figure_class() -> Any:
    """matplotlib's, which only plots need; an ImportError says what to install."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a plot needs the package matplotlib: pip install 't5g[plot]'.") from error
    return Figure


def _ink(score: float) -> str:
    """What can be read on the color of a score: those at both ends are dark."""
    return "white" if score < 15 or score > 85 else "black"


def _length(n: int, longest: int) -> str:
    return f"{n:,} tokens{' or more' if n == longest else ''}" if n else "none"


def _by_length(table: Table) -> dict[int, float]:
    return {length: _mean(list(of.values())) for length, of in table.items()}


def _longest(scores: dict[int, float], least: float) -> int:
    """The last length before the first that scores less."""
    longest = 0
    for length, score in scores.items():
        if score < least:
            break
        longest = length
    return longest


def _effective(scores: dict[int, float], chance: float) -> int:
    shortest = next(iter(scores.values()))
    if shortest <= chance + 0.15 * (100 - chance):
        return 0
    return _longest(scores, _SHARE_OF_SHORTEST * shortest)
