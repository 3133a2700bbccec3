"""What the tests of files that are written share: a program that writes one, and how folders look afterwards."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def in_child(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a program that may import what this test may."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)  # type: ignore[call-overload,no-any-return]


# What errors of writing advise against a limit on the size of files.
TOO_LARGE = "Write to a folder whose file system takes larger files, or raise the limit of the process (ulimit -f)."
WRITE = """
import sys
from t5g._files import write_text
try:
    write_text(sys.argv[1], "new" * int(sys.argv[2]))
except OSError as error:
    print(type(error).__name__, error)
else:
    print("done")
"""
