"""Where a model is: the bundled one, or the file of a path. What else people give for one is told what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

from t5g import arguments

BUNDLED = Path(__file__).parent / "data" / "bundled.gguf"

_CONVERT = "Convert a checkpoint's folder first: t5g-convert FOLDER -o model.gguf"
_HUB_ID = re.compile(r"(?:hf:)?[\w.-]+/[\w.-]+")


def find_model(path: object) -> Path:
    """Give the path of a model's file; None: the bundled one.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    IsADirectoryError
        It is a folder.
    """
    if path is None:
        if not BUNDLED.exists():
            raise FileNotFoundError(
                "this installation has no bundled model. Give the path of a .gguf file made by t5g-convert."
            )
        return BUNDLED
    name = arguments.path("path", path)
    file = Path(name)
    if file.is_dir():
        raise IsADirectoryError(f"{name}: is a folder, expected a .gguf file. {_what_to_do_with(file)}")
    if _HUB_ID.fullmatch(name) and file.suffix != ".gguf" and not os.path.lexists(file):
        raise FileNotFoundError(f"{name}: no such file. For a model of a hub, download its folder. {_CONVERT}")
    return file


def _what_to_do_with(folder: Path) -> str:
    models = sorted(folder.glob("*.gguf"))
    if models:
        return f"It has {models[0].name}: give that{' or another one' if len(models) > 1 else ''}."
    return f"{_CONVERT}."
