"""t5g: on-device inference for T5Gemma and T5Gemma 2.

Names are imported when first used, so that `import t5g` and each command's --help cost next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t5g_convert import convert, quantize

    from t5g.config import Config, TextConfig, VisionConfig
    from t5g.errors import (
        ArgumentTypeError,
        DeviceError,
        HubError,
        InputTooLongError,
        InvalidArgumentError,
        ModelFormatError,
        OutOfMemoryError,
        T5gError,
        T5gWarning,
        UnsupportedError,
    )
    from t5g.generation import GeneratedSequence, Generation, Score, Stream, Timings
    from t5g.generation_defaults import GenerationDefaults
    from t5g.memory import MemoryNeeds
    from t5g.model import Model
    from t5g.source import EncodedSource
    from t5g.system import system_info
    from t5g.tokenizer import Tokenizer

__version__ = "0.1.0"

__all__ = [
    "ArgumentTypeError",
    "Config",
    "DeviceError",
    "EncodedSource",
    "GeneratedSequence",
    "Generation",
    "GenerationDefaults",
    "HubError",
    "InputTooLongError",
    "InvalidArgumentError",
    "MemoryNeeds",
    "Model",
    "ModelFormatError",
    "OutOfMemoryError",
    "Score",
    "Stream",
    "T5gError",
    "T5gWarning",
    "TextConfig",
    "Timings",
    "Tokenizer",
    "UnsupportedError",
    "VisionConfig",
    "__version__",
    "convert",
    "quantize",
    "system_info",
]

# Where each name comes from: a module of this package, or the package of the converter.
_MODULES = {
    "ArgumentTypeError": "errors",
    "Config": "config",
    "DeviceError": "errors",
    "EncodedSource": "source",
    "GeneratedSequence": "generation",
    "Generation": "generation",
    "GenerationDefaults": "generation_defaults",
    "HubError": "errors",
    "InputTooLongError": "errors",
    "InvalidArgumentError": "errors",
    "MemoryNeeds": "memory",
    "Model": "model",
    "ModelFormatError": "errors",
    "OutOfMemoryError": "errors",
    "Score": "generation",
    "Stream": "generation",
    "T5gError": "errors",
    "T5gWarning": "errors",
    "TextConfig": "config",
    "Timings": "generation",
    "Tokenizer": "tokenizer",
    "UnsupportedError": "errors",
    "VisionConfig": "config",
    "convert": "t5g_convert",
    "quantize": "t5g_convert",
    "system_info": "system",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _MODULES[name]
    value: object = getattr(import_module(module if module == "t5g_convert" else f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
