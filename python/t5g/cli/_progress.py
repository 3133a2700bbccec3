"""How far a command has come: one line on stderr, where that is a terminal, written over and taken away at the end.

A line that is wider than the terminal could not be written over, so it is cut; and not every terminal knows control
sequences, so that carriage returns and blanks are all that moves and clears it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

_USUAL_WIDTH = 80


class StatusLine:
    """A line on stderr. Nobody there to read it is no reason to fail."""

    def __init__(self) -> None:
        self._n_shown = 0

    def show(self, text: str) -> None:
        """Write a text over the last one."""
        text = text[: _width() - 1]
        self._write(f"\r{text}{' ' * (self._n_shown - len(text))}")
        self._n_shown = len(text)

    def clear(self) -> None:
        """Leave an empty line to the next text."""
        if self._n_shown:
            self._write(f"\r{' ' * min(self._n_shown, _width() - 1)}\r")
            self._n_shown = 0

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_WIDTH
    except OSError:
        return _USUAL_WIDTH


@contextlib.contextmanager
def counting_bar(total: int, unit: str, *, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """Show a bar on stderr where that is a terminal and tqdm is there to draw it; give what moves it on."""
    bar = None
    if shown and sys.stderr.isatty():
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
    line, done = StatusLine(), threading.Event()

    def tell() -> None:
        for seconds in itertools.count(1):
            if done.wait(1):
                break
            line.show(f"{what}: {seconds} s")
        line.clear()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class ReadingBar:
    """How far the reading of a source has come, from when it turns out to take more than seconds.

    Call it with (done, total); leaving the ``with`` block takes the line away.
    """

    AFTER_SECONDS, EVERY_SECONDS = 2.0, 0.2
    WIDTH = 30

    def __init__(self, prog: str) -> None:
        self._prog = prog
        self._line = StatusLine()
        self._start = self._last = time.monotonic()

    def __enter__(self) -> ReadingBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.clear()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == 0:
            self._start = now
        if done >= total:
            self._line.clear()
        elif now - self._start >= self.AFTER_SECONDS and now - self._last >= self.EVERY_SECONDS:
            self._last = now
            share = done / total
            left = f", {(now - self._start) * (1 - share) / share:.0f} s left" if done else ""
            bar = ("#" * round(share * self.WIDTH)).ljust(self.WIDTH, ".")
            self._line.show(f"{self._prog}: {share:.0%} of {total:,} tokens read{left} [{bar}]")


def reading_bar(prog: str) -> contextlib.AbstractContextManager[ReadingBar | None]:
    """Give a bar where stderr is a terminal, else None."""
    return ReadingBar(prog) if sys.stderr.isatty() else contextlib.nullcontext()
