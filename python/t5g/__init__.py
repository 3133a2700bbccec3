"""t5g: on-device inference for T5Gemma and T5Gemma 2."""

from t5g.errors import InputTooLongError, InvalidArgumentError, ModelFormatError, T5gError, UnsupportedError

__version__ = "0.1.0"

__all__ = [
    "InputTooLongError",
    "InvalidArgumentError",
    "ModelFormatError",
    "T5gError",
    "UnsupportedError",
    "__version__",
]
