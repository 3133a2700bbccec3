"""Bodies of requests: JSON, read within limits, whose every field is checked by name and none is overlooked."""

from __future__ import annotations

import asyncio
import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from t5g import arguments
from t5g.server.errors import ApiError, wrong

if TYPE_CHECKING:
    from starlette.requests import Request

_BODY_SECONDS = 60  # for a client to send it
_LARGE = 1 << 18  # bytes


async def read_json(request: Request) -> dict[str, Any]:
    """Read a request's body, which has to be a JSON object."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415,
            f"Content-Type: must be application/json, got {arguments.found(kind or None)}. Send this header; "
            "with curl: -H 'Content-Type: application/json'.",
            code="wrong_type",
        )
    try:
        body = await asyncio.wait_for(request.body(), _BODY_SECONDS)
    except asyncio.TimeoutError:
        raise ApiError(408, f"the body did not arrive within {_BODY_SECONDS} seconds.", code="timeout") from None
    # A large one, with images in it, would keep all other requests waiting for a moment.
    return _parsed(body) if len(body) < _LARGE else await asyncio.to_thread(_parsed, body)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError:
        raise wrong(None, "the body is not UTF-8.", "invalid_json") from None
    except RecursionError:
        raise wrong(None, "the body is nested too deeply.", "invalid_json") from None
    except json.JSONDecodeError as error:
        raise wrong(None, f"the body is not JSON: {error}.", "invalid_json") from None
    except ValueError:  # an integer of thousands of digits, which Python does not read
        raise wrong(None, "the body has a number that is too long to be read.", "invalid_json") from None
    if not isinstance(value, dict):
        raise wrong(None, f"the body must be a JSON object, got {arguments.found(value)}.", "invalid_json")
    return value


def _no_number(name: str) -> NoReturn:
    raise wrong(None, f"the body is not JSON: {name} is no number of JSON's.", "invalid_json")


def _finite(written: str) -> float:
    """Take a number that floats can hold: no endpoint means infinity, and no answer could repeat it."""
    number = float(written)
    if math.isinf(number):
        message = (
            f"the body has the number {arguments.found(written)}, which is too large for a float. Give a finite one."
        )
        raise wrong(None, message, "invalid_json")
    return number


class Fields:
    """The fields of a body, taken by name. null stands for a field that is not there.

    Parameters
    ----------
    body
        The object.
    name
        Of the field that it is, which messages say before those in it; nothing for a whole body.
    """

    def __init__(self, body: Mapping[str, Any], name: str = "") -> None:
        self.name = name
        self._left = dict(body)
        self._known: set[str] = set()
        self._within = f"{name}." if name else ""

    def take(self, name: str, default: Any = None) -> Any:
        """Take a field of any type."""
        self._known.add(name)
        value = self._left.pop(name, None)
        return default if value is None else value

    def inner(self, name: str) -> Fields | None:
        """Take a field that is an object with fields of its own."""
        value = self.take(name)
        if value is None:
            return None
        where = self._within + name
        if not isinstance(value, dict):
            raise wrong(where, f"{where}: must be an object, got {arguments.found(value)}.")
        return Fields(value, where)

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self.take(name)
        return default if value is None else arguments.text(self._within + name, value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.take(name, default)
        if not isinstance(value, bool):
            where = self._within + name
            raise wrong(where, f"{where}: must be true or false, got {arguments.found(value)}.")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """Take a number in a range, its lower end excluded."""
        value = self.take(name)
        if value is None:
            return None
        where = self._within + name
        number = arguments.number(where, value)
        if not low < number <= high:
            raise wrong(where, f"{where}: must be a number above {low:g} and at most {high:g}, got {number:g}.")
        return number

    def texts(self, name: str, what: str) -> list[str]:
        """Take a list of texts, none by default."""
        value = self.take(name, [])
        where = self._within + name
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise wrong(where, f"{where}: must be a list of {what}, got {arguments.found(value)}.")
        return [arguments.text(f"{where}[{i}]", item) for i, item in enumerate(value)]

    def several(self, names: Iterable[str]) -> dict[str, Any]:
        """Take those of some fields that are there."""
        found = {name: self.take(name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def neutral(self, values: Mapping[str, tuple[Any, ...]]) -> None:
        """Take fields of OpenAI's that t5g lacks, which are fine as long as they ask for nothing."""
        for name, allowed in values.items():
            value = self.take(name)
            if value is not None and not any(value is one or value == one for one in allowed):
                where = self._within + name
                raise wrong(where, f"{where}: is not supported. Leave it out.", "unsupported_parameter")

    def ignore(self, *names: str) -> None:
        """Take fields that say nothing about the answer."""
        for name in names:
            self._left.pop(name, None)

    def done(self) -> None:
        """Refuse what nobody has taken."""
        for name, value in self._left.items():
            if value is not None:
                near = difflib.get_close_matches(name[:60], self._known, 1, 0.7)
                advice = f"Did you mean {near[0]}?" if near else "Leave it out."
                here = f"in {self.name}" if self.name else "here"
                message = f"there is no field {arguments.found(name)} {here}. {advice}"
                raise wrong(self._within + name[:60], message, "unknown_parameter")
