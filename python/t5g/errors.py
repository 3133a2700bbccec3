"""The exceptions of t5g, all under one root."""

from t5g._core import InputTooLongError, InvalidArgumentError, ModelFormatError, T5gError, UnsupportedError

__all__ = ["InputTooLongError", "InvalidArgumentError", "ModelFormatError", "T5gError", "UnsupportedError"]
