"""t5g-run: a source in, generated text out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t5g.cli import _common, _control, _jsonl, _model, _output, _single, _source
from t5g.cli._source import PROG

if TYPE_CHECKING:
    from t5g import Model

_EPILOG = f"""{_source.HELP}
On a terminal without any text, t5g-run asks for one after the other.
Images stand where the text says <start_of_image>, or in front of it where it does not say so.
The generated text goes to standard output as it comes into being.

{_jsonl.HELP}

examples:
  t5g-run model.gguf -p "Some text to summarise."
  t5g-run model.gguf -p "Summarise:" -f report.txt -n 200 --num-beams 4 --json
  t5g-run model.gguf --image photo.jpg -p "What is in this image?"
  man ls | t5g-run model.gguf -v
  t5g-run model.gguf --jsonl -f sources.jsonl --output results.jsonl --resume"""


def _parser() -> _common.Parser:
    parser = _common.Parser(PROG, "Generate text with a T5Gemma or T5Gemma 2 model.", _EPILOG)
    parser.advice = "give the text with -p"
    parser.set_defaults(special_in_prefix=False)  # of the lines of --jsonl, where --special is for nothing else
    parser.may_be_empty = {"prompt", "decoder_prefix", "system"}
    parser.add_argument("model", metavar="MODEL.gguf", nargs="?", help="the model (default: the bundled one)")

    source = parser.add_argument_group("source")
    _source.add_options(source)
    source.add_argument("--no-source", action="store_true", help="no source tokens at all, for a decoder on its own")
    source.add_argument(
        "--image", metavar="PATH", action="append", default=[], help="an image; may be given several times"
    )
    source.add_argument("--pan-and-scan", action="store_true", help="add crops of long images")
    source.add_argument("--special", action="store_true", help="match special tokens such as <unused1> in the text")
    _common.add_truncation(source)
    source.add_argument("--raw", action="store_true", help="take the text as it is, without the chat template")
    source.add_argument("--system", metavar="TEXT", help="what a model with a chat template is told before all turns")
    source.add_argument("--forget", action="store_true", help="on a terminal: every line is a conversation of its own")

    target = parser.add_argument_group("generation")
    target.add_argument("--decoder-prefix", metavar="TEXT", help="how the generated text begins")
    target.add_argument("-n", "--max-new-tokens", metavar="N", type=int, help="default: the file's, or 256")
    target.add_argument("--min-new-tokens", metavar="N", type=int, help="default: the file's, or 0")
    target.add_argument("--stop", metavar="TEXT", action="append", default=[], help="end before this text; repeatable")
    target.add_argument("--temp", metavar="T", type=float, help="temperature; 0 = most likely (default)")
    target.add_argument("--top-k", metavar="K", type=int, help="sample from the K most likely; 0 = all")
    target.add_argument("--top-p", metavar="P", type=float, help="sample from the most likely share P")
    target.add_argument("--min-p", metavar="P", type=float, help="drop tokens below P times the best")
    target.add_argument("--seed", metavar="N", type=int, help="of the random numbers")
    target.add_argument("--repeat-penalty", metavar="X", type=float, help="above 1: repeat less")
    target.add_argument("--no-repeat-ngram", metavar="N", type=int, help="no N tokens twice; 0 = off")
    target.add_argument("--num-beams", metavar="N", type=int, help="beam search with N beams")
    target.add_argument("--length-penalty", metavar="X", type=float, help="above 0: longer beams")
    target.add_argument("--early-stopping", choices=["true", "false", "never"], help="of beam search")
    target.add_argument("--num-return-sequences", metavar="N", type=int, help="all of them with --json")

    target.add_argument(
        "--draft", choices=["source", "off"], default="source", help="greedy: draft tokens from the source; same text"
    )

    _control.add_options(parser)

    _model.add_options(parser)

    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output", metavar="FILE", help="write there instead of to standard output")
    output.add_argument("--special-output", action="store_true", help="keep special tokens in the generated text")
    output.add_argument("--json", action="store_true", help="one JSON object with text, token ids and timings")
    _jsonl.add_options(output)
    output.add_argument("-v", "--verbose", action="store_true", help="source, timings and rates on standard error")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return _common.run(_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> int | None:
    _source.check(arguments)
    _jsonl.check(arguments)
    _model.check(arguments)
    if arguments.jsonl:
        with _opened(arguments) as model:
            return _jsonl.run(model, arguments, _options(arguments), _single.fields)
    source = _source.Source(arguments)  # before the model: a missing file should not wait for it
    if not source.asks:
        _common.refuse(arguments, ["--forget"], "needs a terminal that asks for one source after the other")
    if source.asks:
        if arguments.output is not None:
            raise _common.UsageError("--output needs a source: give -p TEXT or -f FILE")
        with _opened(arguments) as model:
            _single.converse(model, arguments, _options(arguments))
        return None
    inputs = _output.files([arguments.model, *arguments.file, *arguments.image])
    with _output.whole(arguments.output, inputs) as out, _opened(arguments) as model:
        _single.generate(model, source.text, arguments, _options(arguments), out)
    source.check_the_end()
    return None


def _opened(arguments: argparse.Namespace) -> Model:
    try:
        model = _model.opened(arguments)
    except OSError as error:
        name = arguments.model or ""
        if os.path.exists(name) or not any(map(str.isspace, name)):  # noqa: PTH110  of any length
            raise
        said = _common.describe(error).rstrip(".")
        raise OSError(f"{said}. The model's file comes first; give the text with -p.") from None
    model._native.check_has_decoder()
    if not arguments.json:
        model.tokenizer._core.require_text()
    if arguments.special and model.has_chat_template and not (arguments.raw or arguments.no_source):
        why = "turns of the model's chat template hold no special token from a text. --raw takes the text without it"
        _common.report(PROG, f"--special has no effect on the source: {why}", "warning")
        # A prefix is a text of its own; without one, the library would give a reason that is not this one.
        arguments.special = arguments.decoder_prefix is not None
        arguments.special_in_prefix = True
    return model


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What is given: for the rest, the file's defaults count, and then the library's."""
    options = {
        "pan_and_scan": arguments.pan_and_scan,
        "decoder_prefix": _source.argument_text(arguments, "--decoder-prefix", arguments.decoder_prefix),
        "stop": [_source.argument_text(arguments, "--stop", text) for text in arguments.stop] or None,
        "parse_special": arguments.special,
        "truncation": arguments.truncation,
        "skip_special_tokens": not arguments.special_output,
        "max_new_tokens": arguments.max_new_tokens,
        "min_new_tokens": arguments.min_new_tokens,
        "temperature": arguments.temp,
        "top_k": arguments.top_k,
        "top_p": arguments.top_p,
        "min_p": arguments.min_p,
        "seed": arguments.seed,
        "repetition_penalty": arguments.repeat_penalty,
        "no_repeat_ngram_size": arguments.no_repeat_ngram,
        "num_beams": arguments.num_beams,
        "length_penalty": arguments.length_penalty,
        "early_stopping": {"true": True, "false": False}.get(arguments.early_stopping, arguments.early_stopping),
        "num_return_sequences": arguments.num_return_sequences,
        "draft": arguments.draft,
    }
    options |= _control.options(arguments)
    return {name: value for name, value in options.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
