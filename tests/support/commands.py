"""Runs t5g's commands, as processes and in this one."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import t5g

# The package under test, from whatever folder.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(t5g.__file__).resolve().parents[1])}


def command(name: str, *arguments: object) -> list[str | bytes]:
    """Give the line that starts a command, as `python -m`; arguments may be bytes that are no text."""
    return [sys.executable, "-m", f"t5g.cli.{name}", *(a if isinstance(a, bytes) else str(a) for a in arguments)]


def line(name: str, *arguments: object) -> str:
    """Give it for a shell."""
    return shlex.join(map(os.fsdecode, command(name, *arguments)))


def run(
    name: str, *arguments: object, stdin: str | bytes | None = None, **more: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, with standard input from /dev/null where there is none."""
    return to_the_end(command(name, *arguments), stdin=stdin, **more)


def shell(script: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a script of bash."""
    return to_the_end(["bash", "-c", script], **more)


def to_the_end(
    arguments: list[Any], *, stdin: str | bytes | None = None, **more: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run any program."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    options = {"env": ENVIRONMENT, "capture_output": True, "timeout": 120, "check": False} | given | more
    return subprocess.run(arguments, **options)


def start(name: str, *arguments: object, **more: Any) -> subprocess.Popen[bytes]:
    """Start a command, with pipes for its output."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT}
    return subprocess.Popen(command(name, *arguments), **(pipes | more))


def ended(command: str, *arguments: str) -> int:
    """Give the status that `t5g-COMMAND` ends with, in this process."""
    try:
        status: int = importlib.import_module(f"t5g.cli.{command}").main(list(arguments))
    except SystemExit as end:  # of argparse
        return int(end.code or 0)
    return status
