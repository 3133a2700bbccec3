"""What all commands share: how they end. One line on stderr for a failure, 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.

A command's module imports nothing heavy at its top, so that --help answers at once: its body imports what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from t5g.cli import _streams

DONE, FAILED, WRONG_USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class UsageError(Exception):
    """Arguments that contradict each other, found after parsing. Ends the command with status 2."""


class Parser(argparse.ArgumentParser):
    """An argument parser that reports wrong usage in one line and knows --version."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        from t5g import __version__

        self.advice = ""  # for words that are no option's
        self.flags: dict[str, str] = {}  # by the names that the Python API, and so its warnings, have for them
        self.add_argument("--version", action="version", version=f"{prog} {__version__}")

    def error(self, message: str) -> NoReturn:
        what, _, words = message.partition(": ")
        if what == "unrecognized arguments" and not words.startswith("-") and self.advice:
            message += f": {self.advice}"
        report(self.prog, f"{message} (see {self.prog} --help)")
        sys.exit(WRONG_USAGE)


def add_text_options(parser: argparse._ActionsContainer) -> None:
    """Add --encoding and --errors, of all text that a command reads."""
    parser.add_argument(
        "--encoding", metavar="NAME", help="of the text that is read (default: UTF-8, or what its byte order mark says)"
    )
    parser.add_argument(
        "--errors",
        choices=["strict", "replace"],
        default="strict",
        help="bytes that are no text: refuse them (default), or read U+FFFD in their place",
    )


def report(prog: str, message: str, kind: str = "error") -> None:
    """Write one line to stderr: `t5g-run: error: ...`."""
    with contextlib.suppress(UnicodeEncodeError):  # file names that are no text, as the bytes that they are
        message = message.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    with contextlib.suppress(OSError):  # nobody to tell, which is no reason to fail
        sys.stderr.write(f"{prog}: {kind}: {' '.join(message.split())}\n")
        sys.stderr.flush()


def run(parser: Parser, body: Callable[[argparse.Namespace], int | None], argv: Sequence[str] | None) -> int:
    """Parse `argv` (None: the process's), run `body` and turn however it ends into an exit status."""
    _streams.prepare()
    arguments = parser.parse_args(argv)
    previous = _end_cleanly_on_sigterm()
    try:
        with _warnings_in_lines(parser):
            status = body(arguments)
        sys.stdout.flush()
        return status or DONE
    except KeyboardInterrupt as interrupt:
        exec("")  # else Python, which notes an interruption inside exec() (dataclasses), dies of the signal at its end
        report(parser.prog, f"interrupted{interrupt}")
        return INTERRUPTED
    except BrokenPipeError as error:
        if error.filename != _streams.STDOUT:  # whose reader (head, less) has gone, and knows
            report(parser.prog, describe(error))
        return FAILED
    except UsageError as error:
        report(parser.prog, f"{error} (see {parser.prog} --help)")
        return WRONG_USAGE
    except Exception as error:
        if os.environ.get("T5G_DEBUG"):
            raise
        report(parser.prog, describe(error))
        return FAILED
    finally:
        _streams.drop_what_is_left()
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _warnings_in_lines(parser: Parser) -> Iterator[None]:
    """Report t5g's own warnings like errors, with this command's names of what they speak of."""
    import re
    import warnings

    show_others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__module__.startswith("t5g"):
            words = re.sub(r"\w+", lambda word: parser.flags.get(word[0], word[0]), str(message))
            report(parser.prog, words, "warning")
        else:
            show_others(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Show a bar on stderr where that is a terminal and tqdm is there to draw it; give what moves it on."""
    bar = None
    if sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            from tqdm import tqdm

            bar = tqdm(total=total, unit=unit, dynamic_ncols=True, leave=False)
    if bar is None:
        yield lambda n: None
        return
    with bar:
        yield bar.update


@contextlib.contextmanager
def patience(what: str, *, shown: bool) -> Iterator[None]:
    """Say on stderr, where that is a terminal, what takes so long: after a second, with the time that has passed."""
    if not (shown and sys.stderr.isatty()):
        yield
        return
    done = threading.Event()

    def tell() -> None:
        for seconds in itertools.count(1):
            if done.wait(1):
                break
            sys.stderr.write(f"\r{what}: {seconds} s")
            sys.stderr.flush()
        sys.stderr.write("\r\x1b[K")  # leaves an empty line to the text
        sys.stderr.flush()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class ReadingBar:
    """How far the reading of a source has come, in a line on stderr, from when it turns out to take more than seconds.

    Call it with (done, total); leaving the ``with`` block takes the line away.
    """

    AFTER_SECONDS, EVERY_SECONDS = 2.0, 0.2
    WIDTH = 30

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_shown = False
        self._start = self._last = time.monotonic()

    def __enter__(self) -> ReadingBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == 0:
            self._start = now
        if done >= total:
            self._clear()
        elif now - self._start >= self.AFTER_SECONDS and now - self._last >= self.EVERY_SECONDS:
            self._last, self._is_shown = now, True
            share = done / total
            bar = ("#" * round(share * self.WIDTH)).ljust(self.WIDTH, ".")
            left = f", {(now - self._start) * (1 - share) / share:.0f} s left" if done else ""
            self._write(f"\r{self._what}: [{bar}] {share:4.0%} of {total:,} tokens{left} \x1b[K")

    def _clear(self) -> None:
        if self._is_shown:
            self._is_shown = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def reading_bar(what: str) -> contextlib.AbstractContextManager[ReadingBar | None]:
    """Give a bar where stderr is a terminal, else None."""
    return ReadingBar(what) if sys.stderr.isatty() else contextlib.nullcontext()


def describe(error: Exception) -> str:
    """Say what went wrong in one sentence, for a user who does not read Python."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    if isinstance(error, MemoryError):
        return f"out of memory{f': {error}' if str(error) else ''}"
    if isinstance(error, OSError | ValueError | ImportError) or type(error).__module__.startswith("t5g"):
        return str(error) or type(error).__name__
    return f"internal error: {type(error).__name__}: {error}. Set T5G_DEBUG=1 for a traceback."


def _end_cleanly_on_sigterm() -> Callable[[int, FrameType | None], object] | int | None:
    """Let SIGTERM unwind the stack, so that temporary files go. Gives the previous handler, None if unchanged."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return None

    def leave(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        sys.exit(TERMINATED)

    return signal.signal(signal.SIGTERM, leave)
