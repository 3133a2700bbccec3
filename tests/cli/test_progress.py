"""The line on stderr that says how far a command has come: on a terminal only, never wider than it, gone at the end."""

from __future__ import annotations

import io
import os
import sys
import time

import pytest
from t5g.cli import _progress


class Terminal(io.StringIO):
    """Stands for stderr on a terminal."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def screen(self) -> list[str]:
        """The lines that it shows after all that was written, when none is wrapped."""
        lines = [""]
        for part in self.getvalue().replace("\r", "\n\r").split("\n"):
            text = part.removeprefix("\r")
            if part.startswith("\r"):
                lines[-1] = text + lines[-1][len(text) :]
            else:
                lines[-1] += text
        return [line.rstrip() for line in lines]


def become_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int = 80) -> Terminal:
    """Put one in the place of stderr: in the test itself, as pytest puts its own there before each."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(_progress.os, "get_terminal_size", lambda _: os.terminal_size((width, 24)))
    return stream


@pytest.mark.parametrize("width", [10, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    terminal = become_a_terminal(monkeypatch, width)
    line = _progress.StatusLine()
    for text in ("long " * 30, "short", "longer than that"):
        line.show(text)
        assert terminal.screen() == [text[: width - 1].rstrip()]
    line.clear()
    assert terminal.screen() == [""]
    assert all(len(part) < width for part in terminal.getvalue().split("\r"))
    assert "\x1b" not in terminal.getvalue()  # also for a terminal that knows no control sequences


def test_a_terminal_that_tells_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = become_a_terminal(monkeypatch, width=0)
    _progress.StatusLine().show("x" * 100)
    assert terminal.screen() == ["x" * 79]


def test_nothing_is_cleared_that_was_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = become_a_terminal(monkeypatch)
    _progress.StatusLine().clear()
    assert terminal.getvalue() == ""


def test_a_reading_bar_comes_late_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = become_a_terminal(monkeypatch)
    now = 0.0
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now)
    with _progress.ReadingBar("t5g-run") as bar:
        for second in range(10):
            now = float(second)
            bar(second * 100, 1000)
        bar(1000, 1000)
    lines = terminal.getvalue().split("\r")
    assert lines[0] == ""
    assert lines[1].startswith("t5g-run: 20% of 1,000 tokens read, 8 s left [######...")
    assert "90% of 1,000 tokens read, 1 s left" in lines[-3]
    assert terminal.screen() == [""]
    shown = terminal.getvalue()
    with _progress.ReadingBar("t5g-run") as bar:
        now += 3
        bar(1000, 1000)
    assert terminal.getvalue() == shown


def test_patience_is_asked_for_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, shown, expected in (
        (Terminal(), True, "\rreading: 1 s"),
        (Terminal(), False, ""),
        (io.StringIO(), True, ""),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with _progress.patience("reading", shown=shown):
            if expected:
                time.sleep(1.2)
        assert stream.getvalue().startswith(expected)
        assert not isinstance(stream, Terminal) or stream.screen() == [""]


def test_counting_needs_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # as where it is not installed
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with _progress.counting_bar(3, "pair") as advance:
            advance(1)
        assert stream.getvalue() == ""
