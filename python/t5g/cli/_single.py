"""One source of t5g-run and its result: streamed as text, or whole as JSON; and one after the other on a terminal."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

from t5g.cli import _common, _output, _progress, _source
from t5g.cli._source import PROG

if TYPE_CHECKING:
    from t5g import Generation, Model
    from t5g.cli._output import Output
    from t5g.conversation import Conversation


def generate(
    model: Model,
    text: str | None,
    arguments: argparse.Namespace,
    options: dict[str, Any],
    out: Output,
    chat: Conversation | None = None,
) -> None:
    """Generate for one source (None: no source) and write the result. chat: what it is a turn of, and remembered in."""
    images = arguments.image
    source: str | list[int] = []
    if text is not None and chat is not None:
        source = chat.prompt(text)
    elif text is not None:
        source = _source.prompt(model, text, len(images), raw=arguments.raw, system=arguments.system)
    with model.stream(source, images=images or None, **options) as stream:
        with (
            _progress.patience(f"{PROG}: reading images", shown=bool(images)),
            _progress.reading_bar(PROG) as bar,
        ):
            if bar is not None and not images:
                stream._generator.set_progress(bar)
            pieces = list(itertools.islice(stream, 1))
        for piece in itertools.chain(pieces, stream):
            if not arguments.json:
                out.write(piece)
                out.flush()
    result = stream.result
    if arguments.json:
        out.write(_output.as_json(fields(result)))
    out.write("\n")
    out.flush()
    _tell_what_is_missing(result, arguments)
    if text is not None and chat is not None:
        chat.add(text, result.text)
    if arguments.verbose:
        _report_timings(result)


def _tell_what_is_missing(result: Generation, arguments: argparse.Namespace) -> None:
    """Say what of the source was not read, and what of the result is not shown."""
    if result.n_truncated:
        cut = _common.CUT_PARTS[arguments.truncation]
        _common.report(PROG, f"{result.n_truncated:,} tokens were cut from the {cut} of the source", "warning")
    if arguments.json:
        return
    if len(result.sequences) > 1:
        _common.report(PROG, f"this is the first of {len(result.sequences)} texts; --json shows all", "note")
    if arguments.logprobs is not None:
        _common.report(PROG, "--json shows the log-probabilities that --logprobs asks for", "note")


def fields(result: Generation) -> dict[str, Any]:
    """The fields of the result under their names in Python; `sequences` only where there are several.

    Log-probabilities of tokens are there where they are asked for, and scores in beam search.
    """
    from dataclasses import asdict

    found = asdict(result)
    for sequence in (found, *found["sequences"]):
        if sequence["top_logprobs"] is None:
            del sequence["top_logprobs"], sequence["token_logprobs"]
        if sequence["score"] is None:
            del sequence["score"]
    rates = ("encode_tokens_per_second", "decode_tokens_per_second")
    found["timings"].update({name: getattr(result.timings, name) for name in rates})
    if len(result.sequences) == 1:
        del found["sequences"]
    return found


def _report_timings(result: Generation) -> None:
    t = result.timings
    images = f"images {t.image_seconds:.3f} s; " if t.image_seconds else ""
    sys.stderr.write(
        f"{PROG}: load {t.load_seconds:.3f} s; {images}"
        f"encode {t.n_source_tokens} tokens in {t.encode_seconds:.3f} s ({t.encode_tokens_per_second:.1f}/s); "
        f"decode {t.n_new_tokens} tokens in {t.decode_seconds:.3f} s ({t.decode_tokens_per_second:.1f}/s); "
        f"finish reason: {result.finish_reason}\n"
    )


def converse(model: Model, arguments: argparse.Namespace, options: dict[str, Any]) -> None:
    """Ask for sources until the end of input. Ctrl-C stops the text in hand; at the prompt it leaves."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  gives input() editing and history

    images = ""
    if arguments.image:
        from t5g.image_prompt import vision_config

        vision_config(model.config)  # before somebody writes a line for nothing
        images = " about the images"
    chat = None
    if model.has_chat_template and not arguments.raw and not arguments.forget:
        chat = model.conversation(system=arguments.system)
    what = f"One line is one source{images}" if chat is None else "One line is one turn; /clear begins anew"
    sys.stderr.write(f"{model.path.name}, a {model.config.architecture}. {what}; Ctrl-D ends.\n")
    while True:
        try:
            line = _ask("> ")
        except EOFError:
            sys.stderr.write("\n")
            return
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            raise
        if not line.strip():
            continue
        if chat is not None and line.strip() == "/clear":
            chat.clear()
            continue
        try:
            text = _source.argument_text(arguments, "the line", line)
            generate(model, text, arguments, options, sys.stdout, chat)
        except KeyboardInterrupt:
            print(flush=True)
        except BrokenPipeError:
            raise
        except Exception as error:  # the next line may be right
            if os.environ.get("T5G_DEBUG"):
                raise
            _common.report(PROG, arguments.parser.describe(error))


def _ask(prompt: str) -> str:
    """One line from the terminal. The prompt is no result, so that it stays out of a file of them."""
    if sys.stdout.isatty():
        return input(prompt)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return input()
