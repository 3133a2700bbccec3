"""t5g: on-device inference for T5Gemma and T5Gemma 2.

Names are imported when first used, so that `import t5g` and each command's --help cost next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t5g.converter import convert, quantize
    from t5g.errors import InputTooLongError, InvalidArgumentError, ModelFormatError, T5gError, UnsupportedError

__version__ = "0.1.0"

__all__ = [
    "InputTooLongError",
    "InvalidArgumentError",
    "ModelFormatError",
    "T5gError",
    "UnsupportedError",
    "__version__",
    "convert",
    "quantize",
]

_MODULES = {
    "InputTooLongError": "errors",
    "InvalidArgumentError": "errors",
    "ModelFormatError": "errors",
    "T5gError": "errors",
    "UnsupportedError": "errors",
    "convert": "converter",
    "quantize": "converter",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
