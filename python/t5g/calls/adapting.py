"""Adapters (LoRA) beside the model: they come and go, and its own weights stay as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from t5g import adapters, arguments
from t5g.calls import method
from t5g.keywords import explained
from t5g.model_files import find_adapter

if TYPE_CHECKING:
    from t5g.model import Model


@explained()
@method
def load_adapter(self: Model, path: str | os.PathLike[str], name: str | None = None, scale: float = 1.0) -> str:
    """Load an adapter (LoRA) beside the model, whose weights stay as they are.

    Calls use all adapters that are loaded, unless they say otherwise (``adapters=``). Sources and generations that
    are under way keep theirs.

    Parameters
    ----------
    path
        A ``.gguf`` file made by ``t5g-convert ADAPTER_DIR --adapter``; or ``"hf:owner/repo"``, whose PEFT adapter
        is converted once.
    name
        What calls name it by. ``None``: the file's name without its suffix.
    scale
        What its part is multiplied with, beside the adapter's own alpha.

    Returns
    -------
    str
        The name.

    Raises
    ------
    FileNotFoundError
    ModelFormatError
        The file is damaged, no adapter, or one of another model or base.
    ValueError
        An adapter of that name is loaded already.
    """
    given = arguments.path("path", path)
    chosen = adapters.usual_name(given) if name is None else arguments.text("name", name)
    file = find_adapter(path)
    self._native.load_adapter(arguments.native_path("path", file), chosen, arguments.number("scale", scale))
    self._adapter_files[chosen] = str(Path(file).absolute())
    return chosen


@explained()
@method
def unload_adapter(self: Model, name: str) -> None:
    """Take an adapter away: calls compute again what they did without it, to the bit.

    Raises
    ------
    ValueError
        No adapter of that name is loaded.
    """
    self._native.unload_adapter(arguments.text("name", name))
    self._adapter_files.pop(name, None)
