"""What all commands share: how they end. One line on stderr for a failure, 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.

Wrong usage is what the command line alone is to blame for: words that argparse refuses, options that contradict each
other, and values that the library refuses as arguments of its own. Whatever a file, a model or the machine is to blame
for is a failure.

A command's module imports nothing heavy at its top, so that --help answers at once: its body imports what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from t5g import messages
from t5g.cli import _flags, _streams

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
        self.may_be_empty: set[str] = set()  # names of options of which the empty text is one too
        self._given: set[str] = set()  # names of options that the command line has, whatever their value
        self.set_defaults(parser=self)
        self.add_argument("--version", action="version", version=f"{prog} {__version__}")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse the empty text too where an option must have one: a variable of a shell's that is not set."""
        words = _flags.in_own_spelling(sys.argv[1:] if args is None else args, self._option_string_actions)
        self._given = set()
        arguments = super().parse_args(words, namespace)
        for action in self._actions:
            given = getattr(arguments, action.dest, None)
            if action.dest not in self.may_be_empty and "" in (given if isinstance(given, list) else [given]):
                self.error(f"argument {'/'.join(action.option_strings) or action.metavar}: must not be empty")
        return arguments

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # The namespace does not tell a value that is given from the same one as the default.
        self._given.add(action.dest)
        return super()._get_values(action, arg_strings)

    def _print_message(self, message: str, file: Any = None) -> None:
        # Not argparse's own, which keeps to itself that nobody can read what --help and --version say.
        (file or sys.stderr).write(message)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the command. Raises OSError where what has been written for --help cannot be."""
        sys.stdout.flush()
        super().exit(status, message)

    def has_been_given(self, flag: str) -> bool:
        """Whether the command line has this option of the command's."""
        return self._option_string_actions[flag].dest in self._given

    def describe(self, error: Exception) -> str:
        """Say what went wrong as :func:`describe` does, and name this command's flags."""
        return describe(error, _flags.spelling(self._option_string_actions))

    def error(self, message: str) -> NoReturn:
        what, _, words = message.partition(": ")
        if what == "unrecognized arguments":
            if not words.startswith("-"):
                message += f": {self.advice}" if self.advice else ""
            elif advice := _flags.advice(words.split()[0], self._option_string_actions):
                message += f". {advice}"
        report(self.prog, f"{message} (see {self.prog} --help)")
        sys.exit(WRONG_USAGE)


def refuse(arguments: argparse.Namespace, flags: Iterable[str], why: str) -> None:
    """Raise UsageError where one of some options is given, which has no effect as the others are: *--flag why*."""
    parser: Parser = arguments.parser
    for flag in flags:
        if parser.has_been_given(flag):
            raise UsageError(f"{flag} {why}")


# What --truncation cuts away, in messages.
CUT_PARTS = {"end": "end", "start": "beginning", "middle": "middle"}


def add_truncation(parser: argparse._ActionsContainer) -> None:
    """Add --truncation."""
    parser.add_argument(
        "--truncation",
        choices=["error", "end", "start", "middle"],
        default="error",
        help="of a source that is too long: refuse it (default), or cut this part of it away",
    )


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
    try:
        sys.stderr.write(f"{prog}: {kind}: {' '.join(message.split())}\n")
        sys.stderr.flush()
    except OSError:
        # Nobody to tell, which is no reason to fail: not at the end either, where some Pythons write again what the
        # stream still has, and end with 120.
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def run(parser: Parser, body: Callable[[argparse.Namespace], int | None], argv: Sequence[str] | None) -> int:
    """Parse `argv` (None: the process's), run `body` and turn however it ends into an exit status."""
    _streams.prepare()
    chosen, previous = parser, None
    try:
        arguments = parser.parse_args(argv)
        chosen = arguments.parser  # which a word in front may have made another one
        previous = _end_cleanly_on_sigterm()
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
        message = chosen.describe(error)
        if _flags.at_fault(error, chosen._option_string_actions) is None:
            report(parser.prog, message)
            return FAILED
        report(parser.prog, f"{message} (see {chosen.prog} --help)")
        return WRONG_USAGE
    finally:
        _streams.drop_what_is_left()
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _warnings_in_lines(parser: Parser) -> Iterator[None]:
    """Report t5g's own warnings like errors, with this command's names of what they speak of."""
    import warnings

    show_others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__module__.startswith("t5g"):
            spell = _flags.spelling(parser._option_string_actions)
            report(parser.prog, messages.spelled(message, spell), "warning")
        else:
            show_others(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def describe(error: Exception, spell: Callable[[str, str | None], str | None] | None = None) -> str:
    """Say what went wrong in one sentence, for a user who does not read Python. spell: what names arguments."""
    said = str(error) if spell is None else messages.spelled(error, spell)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.stdout.encoding:
        character = ascii(error.object[error.start])
        return f"standard output: {character} cannot be written in {error.encoding}. Unset PYTHONIOENCODING for UTF-8."
    if isinstance(error, MemoryError):
        return f"out of memory{f': {said}' if said else ''}"
    if isinstance(error, OSError | ValueError | ImportError) or type(error).__module__.startswith("t5g"):
        return said or type(error).__name__
    return f"internal error: {type(error).__name__}: {error}. Set T5G_DEBUG=1 for a traceback."


def _end_cleanly_on_sigterm() -> Callable[[int, FrameType | None], object] | int | None:
    """Let SIGTERM unwind the stack, so that temporary files go. Gives the previous handler, None if unchanged."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return None

    def leave(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        sys.exit(TERMINATED)

    return signal.signal(signal.SIGTERM, leave)
