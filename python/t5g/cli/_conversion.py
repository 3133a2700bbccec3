"""What t5g-convert and t5g-quantize share: options on types, and the summary at the end."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from t5g.cli import _common

if TYPE_CHECKING:
    from t5g_convert.summary import Summary

TYPES_HELP = """types: f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0, in any case. Types below 8 bits keep the embedding at
q8_0, and the 4-bit ones also keep attention values, attention outputs and FFN outputs wider; --pure
keeps nothing wider."""


def add_options(parser: _common.Parser, *, vision_default: str) -> None:
    """Add the options of both commands."""
    parser.add_argument("--pure", action="store_true", help="give every matrix exactly TYPE")
    parser.add_argument(
        "--vision-type", metavar="TYPE", help=f"type of the vision tower's matrices (default: {vision_default})"
    )
    parser.add_argument(
        "-t",
        "--threads",
        metavar="N",
        type=int,
        help="encoding threads (default: T5G_NUM_THREADS, else OMP_NUM_THREADS, else all CPUs, at most 8)",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for an unknown type, listing those there are, and for a bad number of threads."""
    from t5g_convert.presets import parse_type

    for name in (arguments.type, arguments.vision_type):
        try:
            if name is not None:
                parse_type(name)
        except ValueError as error:
            raise _common.UsageError(str(error)) from error
    if arguments.threads is not None and arguments.threads < 1:
        raise _common.UsageError(f"--threads is {arguments.threads}, expected at least 1")


def report(prog: str, summary: Summary) -> None:
    """Print the sizes per type and of the whole to stdout, notes to stderr."""
    from t5g_convert.summary import size_text

    for note in summary.notes:
        _common.report(prog, note, "note")
    print(f"{'type':<6} {'tensors':>8} {'parameters':>14} {'size':>9}")
    for name, total in summary.types.items():
        print(f"{name:<6} {total.n_tensors:>8} {total.n_parameters:>14,} {size_text(total.size_bytes):>9}")
    before = size_text(summary.source_size_bytes)
    if summary.size_bytes:
        after, seconds = size_text(summary.size_bytes), f"{summary.seconds:.1f} s"
        print(f"{summary.path}: {summary.architecture}, {before} of tensors to a file of {after} in {seconds}")
    else:
        after = size_text(sum(tensor.size_bytes for tensor in summary.tensors))
        print(f"{summary.path}: not written (dry run); {before} of tensors would become {after}")
