"""t5g-convert: a Hugging Face checkpoint folder to one GGUF file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from t5g.cli import _common

if TYPE_CHECKING:
    from t5g.converter.summary import Summary

_PROG = "t5g-convert"
_EPILOG = """types: f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0, in any case. Types below 8 bits keep the embedding at
q8_0, and the 4-bit ones also keep attention values, attention outputs and FFN outputs wider; --pure
keeps nothing wider.

example: t5g-convert ./t5gemma-2-270m-270m -o t5gemma-2-270m-270m-q8_0.gguf"""


def _parser() -> _common.Parser:
    parser = _common.Parser(_PROG, "Convert a T5Gemma or T5Gemma 2 checkpoint folder to one GGUF file.", _EPILOG)
    parser.add_argument("hf_dir", metavar="HF_DIR", help="folder with config.json, *.safetensors and the tokenizer")
    parser.add_argument("-o", "--output", metavar="OUT.gguf", required=True, help="the file to write")
    parser.add_argument("--type", metavar="TYPE", default="q8_0", help="type of the matrices (default: q8_0)")
    parser.add_argument("--pure", action="store_true", help="give every matrix exactly TYPE")
    parser.add_argument("--no-vision", action="store_true", help="leave the vision tower out")
    parser.add_argument("--vision-type", metavar="TYPE", help="type of the vision tower (default: 16 bits)")
    parser.add_argument("--no-tokenizer", action="store_true", help="write a placeholder vocabulary: token ids only")
    parser.add_argument(
        "-t", "--threads", metavar="N", type=int, help="encoding threads (default: all CPUs, at most 8)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), _convert, argv)


def _convert(arguments: argparse.Namespace) -> None:
    from t5g.converter import convert

    check_type(arguments.type)
    if arguments.vision_type is not None:
        check_type(arguments.vision_type)
    if arguments.threads is not None and arguments.threads < 1:
        raise _common.UsageError(f"--threads is {arguments.threads}, expected at least 1")
    summary = convert(
        arguments.hf_dir,
        arguments.output,
        type=arguments.type,
        pure=arguments.pure,
        vision=not arguments.no_vision,
        vision_type=arguments.vision_type,
        tokenizer=not arguments.no_tokenizer,
        n_threads=arguments.threads,
        progress=sys.stderr.isatty(),
    )
    for note in summary.notes:
        _common.report(_PROG, note, "note")
    print_summary(summary)


def check_type(name: str) -> None:
    """Raise UsageError for an unknown type, listing those there are."""
    from t5g.converter.presets import parse_type

    try:
        parse_type(name)
    except ValueError as error:
        raise _common.UsageError(str(error)) from error


def print_summary(summary: Summary) -> None:
    """Print what was written: one line per type, then the whole file."""
    from t5g.converter.summary import size_text

    print(f"{'type':<6} {'tensors':>8} {'parameters':>14} {'size':>9}")
    for name, total in summary.types.items():
        print(f"{name:<6} {total.n_tensors:>8} {total.n_parameters:>14,} {size_text(total.size_bytes):>9}")
    before = size_text(summary.source_size_bytes)
    seconds = f" in {summary.seconds:.1f} s" if summary.size_bytes else ""
    if summary.size_bytes:
        print(f"{summary.path}: {summary.architecture}, {size_text(summary.size_bytes)} from {before}{seconds}")


if __name__ == "__main__":
    sys.exit(main())
