"""Standard input: whether there is one, and beside -p TEXT whether it is meant for this command.

A command inherits standard input from whoever starts it, with a text in it or not. Programs that read it to its end
whenever it is no terminal hang under a service that leaves a pipe open, and eat the script of a shell that reads its
commands from there. So beside -p a pipe is asked first, and where it stays silent, who holds its other end decides.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

GRACE_SECONDS = 0.5  # a program that starts this one and has a text for it has written some of it by then
_FD = 0
_SHELLS = {"sh", "bash", "dash", "ash", "ksh", "zsh"}


def is_closed() -> bool:
    """Whether there is none (`<&-`)."""
    return sys.stdin is None


def is_terminal() -> bool:
    """Whether somebody may type."""
    return not is_closed() and sys.stdin.isatty()


def tell_if_typed(tell: Callable[[str], None]) -> None:
    """Say that somebody is waited for, where that is what happens next."""
    if is_terminal():
        tell("reads from the terminal, line by line; Ctrl-D ends")


def read() -> bytes:
    """Read all of it; nothing where it is closed."""
    return b"" if is_closed() else sys.stdin.buffer.read()


def read_if_meant(tell: Callable[[str], None]) -> bytes | None:
    """Read all of it where it is a text for this command, and nothing otherwise.

    Parameters
    ----------
    tell
        Called with what a user should know of that.

    Returns
    -------
    bytes or None
        ``None`` for a pipe that has been left alone, to which text may still come.
    """
    if is_closed():
        return b""
    status = os.fstat(_FD)
    mode = status.st_mode
    if stat.S_ISREG(mode):
        position = os.lseek(_FD, 0, os.SEEK_CUR)
        if position == 0 or position >= status.st_size:
            return read()
        tell("standard input is a file that has been read from before, so it is left alone (-f - reads on)")
    elif (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and not _is_a_script():
        if is_ready(GRACE_SECONDS):
            return read()
        if _is_fed_by_a_pipeline():
            tell("waiting for standard input (--no-stdin does without)")
            return read()
        tell("standard input is open but silent, so it is left alone (-f - waits for it, --no-stdin does not look)")
        return None
    return b""


def is_ready(seconds: float = 0) -> bool:
    """Whether there is something to read, or an end, within so many seconds."""
    try:
        return bool(select.select([_FD], [], [], seconds)[0])
    except OSError:  # a system that can only ask sockets
        return True


def came_late() -> bool:
    """Whether text has come to a pipe that was left alone."""
    return is_ready() and bool(os.read(_FD, 1))


# ---- Who is at the other end. Linux tells; elsewhere nobody is found. ----


def _is_a_script() -> bool:
    """Whether the shell that started us reads its commands from here: `curl ... | sh`."""
    shell = Path("/proc", str(os.getppid()))
    try:
        name, *words = (shell / "cmdline").read_text(errors="replace").split("\0")[:-1]
        same = os.path.samestat((shell / "fd" / str(_FD)).stat(), os.fstat(_FD))
    except (OSError, ValueError):
        return False
    has_commands = any(not word.startswith("-") or (word[:2] != "--" and "c" in word) for word in words)
    return same and Path(name).name.lstrip("-") in _SHELLS and ("-s" in words or not has_commands)


def _is_fed_by_a_pipeline() -> bool:
    """Whether a process of our group that did not start us can write to the pipe: `producer | t5g-run -p ...`."""
    pipe = os.fstat(_FD)
    if not stat.S_ISFIFO(pipe.st_mode):
        return False
    ours = {os.getpid(), *_ancestors()}
    processes = [path for path in Path("/proc").glob("[0-9]*") if int(path.name) not in ours]
    return any(_is_of_our_group(int(path.name)) and _can_write(path, pipe) for path in processes)


def _ancestors() -> Iterator[int]:
    pid = os.getppid()
    while pid > 0:
        yield pid
        try:
            fields = Path("/proc", str(pid), "stat").read_bytes().rpartition(b")")[2]  # a name may hold anything
            pid = int(fields.split()[1])
        except (OSError, ValueError, IndexError):
            return


def _is_of_our_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == os.getpgrp()
    except OSError:
        return False


def _can_write(process: Path, pipe: os.stat_result) -> bool:
    try:
        return any(
            link.lstat().st_mode & stat.S_IWUSR and os.path.samestat(link.stat(), pipe)
            for link in (process / "fd").iterdir()
        )
    except OSError:  # it has ended, or is somebody else's
        return False
