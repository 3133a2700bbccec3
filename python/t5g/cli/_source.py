"""The source of t5g-run: what -p, -f and standard input hold, put together and decoded."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from t5g.cli import _common, _stdin

if TYPE_CHECKING:
    from t5g import Model

_Text = TypeVar("_Text", str, "str | None")

PROG = "t5g-run"  # whose source it is
_LAST_LINE_END = re.compile(r"\r?\n\Z")  # that of a text file, and not part of its text

HELP = """The source is TEXT of -p and what stands in the FILEs of -f, in this order, with an empty line between two of
them, or nothing where the first ends in white space. Without -f, standard input is such a file, unless it
is a terminal. So these are the same:
  man tar | t5g-run -p "Summarise: "        t5g-run -p "Summarise: $(man tar)"
Beside -p, a pipe that stays silent and that no other command of the pipeline writes to is left alone;
-f - waits for it, and --no-stdin does not look there."""


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add -p, -f, --no-stdin, --encoding and --errors."""
    group.add_argument("-p", "--prompt", metavar="TEXT", help="the source text, or what is to be done with it")
    group.add_argument(
        "-f", "--file", metavar="FILE", action="append", default=[], help="a file of source text; - = standard input"
    )
    group.add_argument("--no-stdin", action="store_true", help="leave standard input alone")
    _common.add_text_options(group)


def check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for options that contradict each other."""
    if arguments.file.count("-") > 1:
        raise _common.UsageError("-f - is given twice, but standard input can be read once")
    if "-" in arguments.file and arguments.no_stdin:
        raise _common.UsageError("-f - and --no-stdin contradict each other")
    if arguments.no_source:
        for flag, given in (("-p", arguments.prompt is not None), ("-f", arguments.file), ("--image", arguments.image)):
            if given:
                raise _common.UsageError(f"{flag} is part of the source, which --no-source leaves out")
        flags = ["--system", "--raw", "--truncation"]
        _common.refuse(arguments, flags, "says how the source is read, which --no-source leaves out")
    if arguments.raw:
        _common.refuse(arguments, ["--system"], "does not go with --raw")
    if arguments.prompt is not None or arguments.file or arguments.no_source or arguments.jsonl:
        why = "needs a terminal that asks for one source after the other: leave out -p, -f, --no-source and --jsonl"
        _common.refuse(arguments, ["--forget"], why)


class Source:
    """The text from where the arguments say. Reads no more than once.

    Attributes
    ----------
    text
        It; ``None`` for --no-source, and where it is to be asked for.
    asks
        Whether nobody has given one, and a terminal can be asked.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._left_alone = False
        self._parts: list[str] = []
        self.text = None if arguments.no_source else self._read()
        self.asks = self.text is None and not arguments.no_source
        if arguments.verbose and self._parts:
            sys.stderr.write(f"{PROG}: source: {', '.join(self._parts)}\n")

    def check_the_end(self) -> None:
        """Raise ValueError where text came to a pipe after it had been left alone: the result is not about it."""
        if self._left_alone and _stdin.came_late():
            raise ValueError(
                f"standard input: text came later than {_stdin.GRACE_SECONDS} s after the start, when the rest had "
                "been taken for the whole source. Give -f - to wait for it, or --no-stdin where it is not meant."
            )

    def _read(self) -> str | None:
        given = self._arguments.prompt
        instruction = None if given is None else self._part("-p", argument_text(self._arguments, "-p", given))
        documents = [self._document(path) for path in self._arguments.file]
        if not documents and not self._arguments.no_stdin:
            # An image alone is a source too.
            if instruction is not None or (self._arguments.image and not _stdin.is_terminal()):
                documents = [self._stdin(self._beside_others())]
            elif not _stdin.is_terminal():
                documents = [self._stdin(self._whole_stdin())]
        if instruction is None and not documents:
            if self._arguments.no_stdin and not self._arguments.image:
                raise _no_source("nothing is given")
            return "" if self._arguments.no_stdin else None
        return joined([instruction or "", *documents])

    def _document(self, path: str) -> str:
        from t5g.text_files import printable

        if path != "-":
            return self._part(printable(path), self._decoded(Path(path).read_bytes(), printable(path)))
        if _stdin.is_closed():
            raise ValueError("-f -: standard input is closed.")
        return self._stdin(_stdin.read())

    def _stdin(self, data: bytes) -> str:
        return self._part("standard input", self._decoded(data, "standard input"))

    def _whole_stdin(self) -> bytes:
        data = _stdin.read()
        if not data:
            raise _no_source(f"standard input is {'closed' if _stdin.is_closed() else 'empty'}")
        return data

    def _beside_others(self) -> bytes:
        data = _stdin.read_if_meant(lambda message: _common.report(PROG, message, "note"))
        self._left_alone = data is None
        return data or b""

    def _decoded(self, data: bytes, name: str) -> str:
        from t5g.text_files import decode

        text = decode(data, name, encoding=self._arguments.encoding, errors=self._arguments.errors)
        return _LAST_LINE_END.sub("", text)

    def _part(self, name: str, text: str) -> str:
        if text:
            self._parts.append(f"{name} ({len(text):,} characters)")
        return text


def _no_source(why: str) -> _common.UsageError:
    return _common.UsageError(f"no source: {why}; give -p TEXT, -f FILE or --no-source")


def joined(parts: Iterable[str]) -> str:
    """One text of several: an empty line between two, but nothing after white space or beside an empty one."""
    text = ""
    for part in parts:
        text += ("\n\n" if text and part and not text[-1].isspace() else "") + part
    return text


def argument_text(arguments: argparse.Namespace, name: str, text: _Text) -> _Text:
    """Give the text of an argument; where it is none to Python, as --encoding and --errors say."""
    if text is None:
        return text
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        from t5g.text_files import decode

        return decode(os.fsencode(text), name, encoding=arguments.encoding, errors=arguments.errors)


def prompt(model: Model, text: str, n_images: int, *, raw: bool, system: str | None = None) -> str | list[int]:
    """Make what the model takes of a text: a turn of a conversation, or with the places of images in front."""
    if system is not None:
        return model.conversation(system=system).prompt(text)
    if model.has_chat_template and not raw:
        return model.apply_chat_template([{"role": "user", "content": text}])
    if not n_images:
        return text
    from t5g.image_prompt import start_of_image, vision_config

    vision_config(model.config)
    marker = start_of_image(model.tokenizer, model.config)
    return text if marker in text else " ".join([marker] * n_images) + text
