"""What a server was told when it was started."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from t5g.errors import InvalidArgumentError
from t5g.messages import about


def check_key(key: str, name: str) -> str:
    """Take a key that a header can hold. name: where it was given."""
    if not key.strip() or not key.isascii() or key != key.strip():
        what = "must be ASCII characters without spaces around them. Give another key."
        raise about(InvalidArgumentError, name, what)
    return key


@dataclass(frozen=True)
class Settings:
    """Options of :func:`t5g.server.app.make_app`; those of ``t5g-serve`` with their defaults.

    Attributes
    ----------
    model_name
        What ``/v1/models`` lists and answers name.
    api_key
        Asked for in ``Authorization: Bearer``; None: nobody is asked.
    host
        The address that the server listens on.
    allowed_hosts
        Names that a request's ``Host`` may have beside those of this machine, where the server listens on the loopback
        address without a key; a web page elsewhere could otherwise reach it under a name of its own.
    cors_origins
        Origins of web pages elsewhere that may use the server; ``*``: all. Empty: none.
    max_batch_size
        Sequences that run together.
    max_queue
        Sources that may wait beside those that run; more are refused with 429.
    timeout_seconds
        A request that takes longer is stopped; requests may ask for less.
    max_body_bytes
        A larger request is refused with 413.
    max_images
        Images of one request.
    source_seconds, source_bytes
        An encoded source is kept for so long after its last use, and all of them in so much memory.
    shutdown_seconds
        Time that running requests get to end when the server is told to stop.
    """

    model_name: str
    api_key: str | None = None
    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_batch_size: int = 16
    max_queue: int = 256
    timeout_seconds: float = 600.0
    max_body_bytes: int = 32 << 20
    max_images: int = 8
    source_seconds: float = 3600.0
    source_bytes: int = 2 << 30
    shutdown_seconds: float = 30.0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
