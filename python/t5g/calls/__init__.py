"""The methods of :class:`t5g.Model`, by what they are for: functions of the open model, which ``model.py`` binds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def method(function: F) -> F:
    """Name a function what callers know it by, in messages as in ``help``: a method of the model."""
    function.__module__ = "t5g.model"
    function.__qualname__ = f"Model.{function.__name__}"
    return function
