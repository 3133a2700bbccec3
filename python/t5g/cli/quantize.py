"""t5g-quantize: a GGUF file of t5g to one with other types."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from t5g.cli import _common, _conversion

_PROG = "t5g-quantize"
_EPILOG = f"{_conversion.TYPES_HELP}\n\nexample: t5g-quantize t5gemma-2-270m-270m-bf16.gguf small.gguf q4_0"


def _parser() -> _common.Parser:
    parser = _common.Parser(_PROG, "Write a T5Gemma or T5Gemma 2 GGUF file again with other types.", _EPILOG)
    parser.add_argument("input", metavar="IN.gguf", help="the file to read")
    parser.add_argument("output", metavar="OUT.gguf", help="the file to write")
    parser.add_argument("type", metavar="TYPE", help="type of the matrices")
    parser.add_argument("--dry-run", action="store_true", help="write nothing, show the type per tensor")
    _conversion.add_options(parser, vision_default="q8_0 for quantised types, never wider than it is")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), _quantize, argv)


def _quantize(arguments: argparse.Namespace) -> None:
    from t5g_convert import quantize
    from t5g_convert.summary import size_text

    _conversion.check(arguments)
    summary = quantize(
        arguments.input,
        arguments.output,
        arguments.type,
        pure=arguments.pure,
        vision_type=arguments.vision_type,
        dry_run=arguments.dry_run,
        n_threads=arguments.threads,
        progress=sys.stderr.isatty(),
    )
    if arguments.dry_run:
        width = max((len(tensor.name) for tensor in summary.tensors), default=0)
        for tensor in summary.tensors:
            shape = " x ".join(map(str, tensor.shape))
            change = f"{tensor.source_type:>4} -> {tensor.type:<4}"
            print(f"{tensor.name:<{width}}  {change}  {size_text(tensor.size_bytes):>8}  [{shape}]")
    _conversion.report(_PROG, summary)


if __name__ == "__main__":
    sys.exit(main())
