"""The exceptions of t5g, all under one root, and its warning."""

from t5g._core import (
    ArgumentTypeError,
    DeviceError,
    InputTooLongError,
    InvalidArgumentError,
    ModelFormatError,
    OutOfMemoryError,
    T5gError,
    UnsupportedError,
)

__all__ = [
    "ArgumentTypeError",
    "DeviceError",
    "HubError",
    "InputTooLongError",
    "InvalidArgumentError",
    "ModelFormatError",
    "OutOfMemoryError",
    "T5gError",
    "T5gWarning",
    "UnfinishedError",
    "UnsupportedError",
]


class HubError(T5gError):
    """A hub cannot be reached, refuses a repository, or sends something else than it has promised."""


class UnfinishedError(T5gError, RuntimeError):
    """The result of a stream was asked for while its text is still being generated."""


class T5gWarning(UserWarning):
    """Something that was asked for has no effect. Told once per process; filter it with the module ``warnings``."""
