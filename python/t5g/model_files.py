"""Where a model is: the bundled one, the file of a path, or on a hub. What else people give is told what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

from t5g import arguments

BUNDLED = Path(__file__).parent / "data" / "bundled.gguf"

_CONVERT = "Convert a checkpoint's folder first: t5g-convert FOLDER -o model.gguf"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_model(path: object) -> Path:
    """Give the path of a model's file; None: the bundled one. `hf:owner/repo...` is fetched (see `t5g.hub`).

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
    if name.startswith("hf:") and not os.path.lexists(name):
        from t5g import hub

        return hub.model_file(hub.parse(name))
    file = Path(name)
    if file.is_dir():
        raise IsADirectoryError(f"{name}: is a folder, expected a .gguf file. {_what_to_do_with(file)}")
    if _HUB_ID.fullmatch(name) and file.suffix != ".gguf" and not os.path.lexists(file):
        raise FileNotFoundError(f"{name}: no such file. A model of a hub is hf:{name}.")
    return file


def find_adapter(path: object) -> str:
    """Give the path of an adapter's file. `hf:owner/repo...` is fetched.

    Raises
    ------
    IsADirectoryError
        It is a folder. PEFT's are converted first.
    """
    name = arguments.path("path", path)
    if name.startswith("hf:") and not os.path.lexists(name):
        from t5g import hub

        return str(hub.adapter_file(hub.parse(name)))
    if Path(name).is_dir():
        raise IsADirectoryError(
            f"{name}: is a folder, expected an adapter's .gguf file. Convert it first: t5g-convert {name} --adapter -o "
            "adapter.gguf"
        )
    return name


def _what_to_do_with(folder: Path) -> str:
    models = sorted(folder.glob("*.gguf"))
    if models:
        return f"It has {models[0].name}: give that{' or another one' if len(models) > 1 else ''}."
    return f"{_CONVERT}."
