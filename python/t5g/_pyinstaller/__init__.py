"""Tells PyInstaller how to freeze programs that use t5g: it finds this through the entry point `pyinstaller40`."""

from __future__ import annotations

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Give the folders with hooks."""
    return [str(Path(__file__).parent)]
