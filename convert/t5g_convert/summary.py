"""What a conversion did, for callers and for the last lines of the commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from t5g_convert.matching import listing


class TypeTotal(NamedTuple):
    """What all tensors of one type add up to."""

    n_tensors: int
    n_parameters: int
    size_bytes: int


class TensorPlan(NamedTuple):
    """One tensor of the output, and the type it had in the input."""

    name: str
    shape: tuple[int, ...]
    type: str
    size_bytes: int
    source_type: str


@dataclass(frozen=True)
class Summary:
    """The result of `t5g.convert` and `t5g.quantize`."""

    path: Path
    architecture: str
    size_bytes: int  # of the file, 0 after a dry run
    source_size_bytes: int  # of the tensors read
    seconds: float
    tokenizer: str  # where the vocabulary comes from
    tensors: tuple[TensorPlan, ...]
    notes: tuple[str, ...]  # what the caller should know: each one sentence

    @property
    def types(self) -> dict[str, TypeTotal]:
        """Totals per type, largest first."""
        return totals(self.tensors)


def totals(tensors: Iterable[TensorPlan]) -> dict[str, TypeTotal]:
    """Add up tensors per type, largest first."""
    found: dict[str, TypeTotal] = {}
    for tensor in tensors:
        old = found.get(tensor.type, TypeTotal(0, 0, 0))
        count = 1
        for n in tensor.shape:
            count *= n
        found[tensor.type] = TypeTotal(old[0] + 1, old[1] + count, old[2] + tensor.size_bytes)
    return dict(sorted(found.items(), key=lambda item: -item[1].size_bytes))


def note_of_16_bits(names: Sequence[str]) -> list[str]:
    """Say which matrices no quantised type fits, if there are any."""
    return [f"Kept in 16 bits, for rows that are not a multiple of 32 long: {listing(names)}."] if names else []


def size_text(size_bytes: int) -> str:
    """Write a size in decimal units, as disks and downloads are measured: 1.57 GB."""
    value, unit = float(size_bytes), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
