"""t5g-convert: a Hugging Face checkpoint folder to one GGUF file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from t5g.cli import _common, _conversion

_PROG = "t5g-convert"
_EPILOG = f"{_conversion.TYPES_HELP}\n\nexample: t5g-convert ./t5gemma-2-270m-270m -o t5gemma-2-270m-270m-q8_0.gguf"


def _parser() -> _common.Parser:
    parser = _common.Parser(_PROG, "Convert a T5Gemma or T5Gemma 2 checkpoint folder to one GGUF file.", _EPILOG)
    parser.add_argument("hf_dir", metavar="HF_DIR", help="folder with config.json, *.safetensors and the tokenizer")
    parser.add_argument("-o", "--output", metavar="OUT.gguf", required=True, help="the file to write")
    parser.add_argument("--type", metavar="TYPE", help="type of the matrices (default: q8_0; of an adapter: its own)")
    parser.add_argument("--base", metavar="BASE_DIR", help="HF_DIR is a PEFT adapter (LoRA) of this: merge both")
    parser.add_argument("--adapter", action="store_true", help="keep the PEFT adapter HF_DIR apart, for --lora")
    parser.add_argument("--no-vision", action="store_true", help="leave the vision tower out")
    parser.add_argument("--encoder-only", action="store_true", help="leave the decoder out, to encode and embed")
    parser.add_argument("--no-tokenizer", action="store_true", help="write a placeholder vocabulary: token ids only")
    _conversion.add_options(parser, vision_default="q8_0 for quantised types, else the same type")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), _convert, argv)


def _convert(arguments: argparse.Namespace) -> None:
    from t5g_convert import convert

    _conversion.check(arguments)
    _check(arguments)
    summary = convert(
        arguments.hf_dir,
        arguments.output,
        type=arguments.type,
        pure=arguments.pure,
        vision=not arguments.no_vision,
        vision_type=arguments.vision_type,
        tokenizer=not arguments.no_tokenizer,
        encoder_only=arguments.encoder_only,
        base=arguments.base,
        adapter=arguments.adapter,
        n_threads=arguments.threads,
        progress=sys.stderr.isatty(),
    )
    _conversion.report(_PROG, summary)


def _check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for options that contradict each other."""
    if arguments.adapter:
        flags = ["--pure", "--no-vision", "--vision-type", "--encoder-only", "--no-tokenizer"]
        _common.refuse(arguments, flags, "does not go with --adapter: it is of a whole model")
    if arguments.no_vision:
        _common.refuse(arguments, ["--vision-type"], "does not go with --no-vision: no matrix of the tower is left")


if __name__ == "__main__":
    sys.exit(main())
