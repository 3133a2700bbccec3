"""t5g-eval recall: how far into a source a model still finds what it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from t5g.cli import _common, _model, _output, _progress

if TYPE_CHECKING:
    from t5g import Model

_PROG = "t5g-eval recall"
_EPILOG = """Needles are put into prose at several depths, and one of them is asked for. Two things are counted:
how often the right answer is likelier than wrong ones (which a base model can do that follows no instruction),
and how often it is in the text that the model writes. docs/long-sources.md says more.

example: t5g-eval recall model-q4_0.gguf --lengths 1k,4k,16k --type-reference model-f16.gguf --plot recall.png"""


def parser() -> _common.Parser:
    parser = _common.Parser(_PROG, "Measure effective context.", _EPILOG)
    parser.add_argument("model", metavar="MODEL.gguf", help="the model")
    parser.add_argument(
        "--lengths",
        metavar="N,...",
        type=_lengths,
        help="of sources (default: those of 1k,4k,16k,64k that the file allows); above its limit too",
    )
    parser.add_argument("--depths", metavar="N", type=int, default=5, help="places of the needle (default: 5)")
    parser.add_argument(
        "--task", choices=["single", "multikey", "multivalue", "words"], default="single", help="default: single"
    )
    parser.add_argument("--samples", metavar="N", type=int, default=2, help="for each length and depth (default: 2)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument("--haystack", metavar="FILE", help="prose to hide needles in (default: Python's manual)")
    parser.add_argument("--type-reference", metavar="REF.gguf", help="the same model in a wider type, asked the same")
    parser.add_argument("--no-generate", action="store_true", help="compare answers only, which is faster")
    parser.add_argument("--resume", metavar="FILE", help="keep finished examples there, and go on from those it has")
    parser.add_argument("--plot", metavar="OUT.png", help="draw a heat map (extra: plot)")
    _common.add_text_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    _model.add_options(parser, limits=False)
    parser.set_defaults(body=run)
    return parser


_USUAL = (1024, 4096, 16384, 65536)


def _lengths(text: str) -> tuple[int, ...]:
    try:
        return tuple(_length(word) for word in text.split(","))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of lengths such as 1k,4k,16384") from None


def _length(word: str) -> int:
    word = word.strip().lower()
    return round(float(word[:-1]) * 1024) if word.endswith("k") else int(word)


def _measured(model: Model, arguments: argparse.Namespace) -> tuple[int, ...]:
    """Say which lengths are measured: not those that would fail, after all shorter ones have taken their hours."""
    from t5g import OutOfMemoryError

    asked: Sequence[int] | None = arguments.lengths
    if asked is None:
        limit = model.max_source_tokens
        asked = [length for length in _USUAL if length <= limit] or [limit]
        if left_out := [f"{length:,}" for length in _USUAL if length > limit]:
            words = f"sources of {' and '.join(left_out)} tokens are left out: the file's limit is {limit:,}"
            _common.report(_PROG, f"{words}. --lengths measures longer ones too", "note")
    lengths = []
    for length in asked:
        try:
            model._native.check_memory(length)
            lengths.append(length)
        except OutOfMemoryError as error:
            if length == min(asked):
                raise
            why = arguments.parser.describe(error)
            _common.report(_PROG, f"sources of {length:,} tokens are left out: {why}", "warning")
    return tuple(lengths)


def run(arguments: argparse.Namespace) -> None:
    from contextlib import ExitStack
    from dataclasses import replace

    from t5g import Model
    from t5g.errors import InvalidArgumentError
    from t5g.recall import Settings, measure
    from t5g.text_files import decode, printable

    try:
        settings = Settings(
            task=arguments.task,
            lengths=arguments.lengths or _USUAL,
            n_depths=arguments.depths,
            n_samples=arguments.samples,
            generate=not arguments.no_generate,
            seed=arguments.seed,
        )
    except InvalidArgumentError as error:
        raise _common.UsageError(arguments.parser.describe(error).rstrip(".")) from None
    if arguments.haystack is None:
        _common.refuse(arguments, ["--encoding", "--errors"], "needs --haystack FILE, of whose text it is")
    _model.check(arguments)
    haystack = None
    if arguments.haystack is not None:
        data, name = Path(arguments.haystack).read_bytes(), printable(arguments.haystack)
        haystack = decode(data, name, encoding=arguments.encoding, errors=arguments.errors)
    _check_files(arguments)
    with ExitStack() as stack:

        def opened(path: str) -> Model:
            model = stack.enter_context(Model(path, **options))
            if model.max_source_tokens >= max(settings.lengths):
                return model
            model.close()
            return stack.enter_context(Model(path, **options, max_source_tokens=max(settings.lengths)))

        options = _model.options(arguments)
        with Model(arguments.model, **options) as model:
            settings = replace(settings, lengths=_measured(model, arguments))
        model = opened(arguments.model)
        _model.load_adapters(model, arguments.lora)
        reference = None if arguments.type_reference is None else opened(arguments.type_reference)
        advance = stack.enter_context(_progress.counting_bar(settings.n_examples(), "example"))
        try:
            report = measure(
                model, settings, reference=reference, haystack=haystack, resume=arguments.resume, progress=advance
            )
        except KeyboardInterrupt:
            how = "" if arguments.resume is None else "; the same command goes on after what is done"
            raise KeyboardInterrupt(how) from None
    if arguments.plot is not None:
        report.plot(arguments.plot, f"{Path(arguments.model).name}: {settings.task}")
    if arguments.json:
        print(_output.as_json(report.as_dict(), ensure_ascii=True, indent=2))
    else:
        print(report.text())


def _check_files(arguments: argparse.Namespace) -> None:
    """Before hours of work for them."""
    from t5g._files import check_output
    from t5g.recall.report import figure_class

    given = (arguments.model, arguments.haystack, arguments.type_reference)
    inputs = [Path(path) for path in given if path is not None]
    targets = [check_output(path, inputs) for path in (arguments.resume, arguments.plot) if path is not None]
    if len(targets) == 2 and targets[0] == targets[1]:
        raise _common.UsageError(f"--resume and --plot both name {arguments.plot}")
    if arguments.plot is not None:
        figure_class()
