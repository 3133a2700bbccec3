"""What goes wrong with a request, in OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.exceptions import HTTPException

from t5g import messages
from t5g.errors import (
    ArgumentTypeError,
    DeviceError,
    InputTooLongError,
    InvalidArgumentError,
    T5gError,
    UnsupportedError,
)

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "server_error",
}
_HTTP = {
    404: "there is no such path here. The server's page and docs/server.md list what there is.",
    405: "this path does not take this method; the header Allow has those that it takes.",
}
# What a request cannot change, but who has started the server can.
_OF_THE_SERVER = ("device", "kv_type", "source_cache", "max_source_tokens", "max_target_tokens")
NO_NAMES: Mapping[str, str] = MappingProxyType({})


class ApiError(Exception):
    """An error that a client is told.

    Parameters
    ----------
    status
        The HTTP status.
    message
        What is wrong and what to do.
    param
        The field of the request that is meant.
    code
        A word for programs.
    headers
        That go with the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The answer."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def wrong(param: str | None, message: str, code: str | None = None) -> ApiError:
    """Make the error for a field that is not what it has to be."""
    return ApiError(400, message, param=param, code=code)


def in_fields(error: BaseException, names: Mapping[str, str]) -> str:
    """What an error says, with the request's names for fields. Others are those of t5g's arguments."""

    def spell(name: str, value: str | None) -> str:
        if name in _OF_THE_SERVER:
            flag = f"--{name.replace('_', '-')}"
            return f"t5g-serve {flag}" if value is None else f"t5g-serve {flag} {value}"
        return names.get(name, name)

    return messages.spelled(error, spell)


def as_api_error(error: BaseException, param: str | None = None, names: Mapping[str, str] = NO_NAMES) -> ApiError:
    """What a client is told of any exception. Those that are no fault of the request say nothing of the inside.

    Parameters
    ----------
    param
        The field of the request that is meant; ``None``: that of the argument that the error is about.
    names
        The request's names for arguments of t5g's.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        return ApiError(
            error.status_code, _HTTP.get(error.status_code, error.detail), code="http_error", headers=headers
        )
    if isinstance(error, InvalidArgumentError | ArgumentTypeError | UnsupportedError):
        code = "context_length_exceeded" if isinstance(error, InputTooLongError) else None
        if param is None and (subject := messages.subject(error)) is not None:
            param = names.get(subject, subject)
        return wrong(param, in_fields(error, names), code)
    if isinstance(error, ImportError):
        return ApiError(501, str(error), param=param, code="not_installed")
    if isinstance(error, MemoryError):
        message = in_fields(error, names) if isinstance(error, T5gError) else "the server is out of memory."
        return ApiError(503, f"{message} Try again later, or send less.", code="out_of_memory")
    if isinstance(error, DeviceError):
        return ApiError(503, f"the device failed: {in_fields(error, names)} Try again later.", code="device_error")
    if isinstance(error, T5gError):  # such as a text that cannot go on, because all tokens are banned
        return wrong(param, in_fields(error, names))
    return ApiError(500, "the server failed at this request; its log has the reason.", code="internal_error")


def timed_out(seconds: float) -> ApiError:
    """Make the error for a request that has taken too long."""
    return ApiError(
        504, f"the request has taken longer than its {seconds:g} seconds and was stopped.", code="deadline_exceeded"
    )


def shutting_down() -> ApiError:
    """Make the error for a request that the server does not finish, or begin, because it stops."""
    headers = {"Retry-After": "5"}
    return ApiError(503, "the server is shutting down. Try again.", code="shutting_down", headers=headers)
