"""Options of all commands that open a model, declared once: how each is given, and what t5g.Model gets of it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t5g.cli import _common

if TYPE_CHECKING:
    from t5g import Model


def add_options(parser: argparse.ArgumentParser, *, decoder: bool = True, limits: bool = True) -> None:
    """Add the group "machine".

    Parameters
    ----------
    parser
        The command's.
    decoder
        Whether the command writes or scores targets; without, options of the decoder alone are left out.
    limits
        Whether the lengths of sources and targets that are accepted may be set.
    """
    group = parser.add_argument_group("machine")
    _add_devices(group)
    if decoder:
        _add_caches(group)
    for side in ("source", "target")[: limits * (1 + decoder)]:
        group.add_argument(
            f"--max-{side}-tokens", metavar="N", type=int, help=f"longest {side} accepted (default: what the file says)"
        )
    group.add_argument(
        "--encoder-window",
        choices=["exclusive", "inclusive"],
        default="exclusive",
        help="of T5Gemma, the first: windows as it was trained (default), or as transformers 5.4 and later reads them",
    )
    group.add_argument(
        "--load",
        choices=["map", "copy"],
        default="map",
        help="read weights from the file when they are needed (default), or all at once, to need the file no more",
    )
    group.add_argument(
        "--lora",
        metavar="FILE[:SCALE]",
        action="append",
        default=[],
        help="an adapter, with a scale if need be (default: 1); may be given several times",
    )


def _add_devices(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-t",
        "--threads",
        metavar="N",
        type=int,
        help="default: T5G_NUM_THREADS, else OMP_NUM_THREADS, else the physical cores",
    )
    # Which devices there are, the library knows.
    group.add_argument(
        "--device",
        metavar="NAME",
        default="auto",
        help="auto (default; T5G_DEVICE sets what it means), cpu, cuda, cuda:1, metal, emulated (for tests)",
    )


def _add_caches(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--kv-type",
        choices=["auto", "f32", "f16", "q8_0"],
        default="auto",
        help="how keys and values are stored (default: as exact as the weights ask for)",
    )
    group.add_argument(
        "--source-cache",
        choices=["auto", "keys", "latent"],
        default="auto",
        help="what is kept of a source: keys and values, or the encoder's output alone (default: by the budget)",
    )
    group.add_argument(
        "--source-cache-budget",
        metavar="MIB",
        type=_mebibytes,
        help="auto keeps keys and values of a source up to so many MiB (default: 512)",
    )


def _mebibytes(text: str) -> int:
    """Take a number of MiB -> bytes."""
    n = int(text)
    if n < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {n}")
    return n << 20


_mebibytes.__name__ = "MIB"  # argparse names it in its messages

# Options of t5g.Model that have a flag, with what argparse calls that where it is not the same.
_DESTINATIONS = {
    "device": "device",
    "n_threads": "threads",
    "kv_type": "kv_type",
    "source_cache": "source_cache",
    "source_cache_budget": "source_cache_budget",
    "max_source_tokens": "max_source_tokens",
    "max_target_tokens": "max_target_tokens",
    "encoder_window": "encoder_window",
    "load": "load",
}


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give what the command line says to t5g.Model: its own defaults count for the rest."""
    given = {option: getattr(arguments, name, None) for option, name in _DESTINATIONS.items()}
    return {option: value for option, value in given.items() if value is not None}


def check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for options that contradict each other."""
    kept = getattr(arguments, "source_cache", None)  # t5g-embed has none
    if kept in ("keys", "latent"):
        why = f"does not go with --source-cache {kept}: it is of --source-cache auto, which chooses by it"
        _common.refuse(arguments, ["--source-cache-budget"], why)


def opened(arguments: argparse.Namespace) -> Model:
    """Open the model of a command, with its options and its adapters."""
    check(arguments)
    from t5g import Model

    model = Model(arguments.model, **options(arguments))
    try:
        load_adapters(model, arguments.lora)
    except BaseException:
        model.close()
        raise
    return model


def load_adapters(model: Model, given: Sequence[str]) -> list[tuple[str, float]]:
    """Load what --lora names -> path and scale of each.

    A colon and a number at the end are the scale, unless a file is called so.
    """
    from t5g.adapters import usual_name
    from t5g.model_files import find_adapter

    loaded = []
    for number, text in enumerate(given):
        path, colon, scale = text.rpartition(":")
        try:
            factor = float(scale) if colon and not os.path.lexists(text) else None
        except ValueError:
            factor = None
        if factor is None:
            path, factor = text, 1.0
        if not path:
            raise _common.UsageError(f"--lora {text}: names no file")
        stem, file = usual_name(path), find_adapter(path)
        name = stem if stem not in model.adapters else f"{stem}-{number + 1}"
        model.load_adapter(file, name, factor)
        loaded.append((file, factor))
    return loaded
