"""What goes through the server's engine: sources with what is asked of them, and the events that come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from t5g import _core
from t5g.generation import Generation
from t5g.server.errors import ApiError

if TYPE_CHECKING:
    from t5g.server.logprobs import Token
    from t5g.sources import Request


@dataclass(frozen=True)
class Spec:
    """One source and what is asked of it.

    Attributes
    ----------
    request
        Token ids and pixels, or a source that is encoded.
    prefix
        The decoder's first tokens.
    config, text
        Options of generation.
    streams
        Whether text is wanted as it comes.
    """

    request: Request
    prefix: list[int]
    config: _core.sampling.GenerationConfig
    text: _core.TextOptions
    streams: bool = False

    @property
    def n_tokens(self) -> int:
        return len(self.request[0]) if isinstance(self.request, tuple) else self.request.n_tokens


@dataclass
class Fresh:
    """Text of a sequence that has become certain.

    Attributes
    ----------
    sequence
        Among those of its source.
    text
        What has come since the last one.
    tokens
        Its tokens, as :class:`t5g.server.logprobs.Logprobs` takes them, where log-probabilities are asked for.
    """

    sequence: int
    text: str
    tokens: list[Token] = field(default_factory=list)


Event = Fresh | Generation | Exception


@dataclass(eq=False)
class Work:
    """A spec on its way, and where its events go. The event loop sets `stop`; the rest is the threads'."""

    spec: Spec | None  # until the batch has it
    tell: Callable[[Event], None]
    stop: _core.StopFlag = field(default_factory=_core.StopFlag)
    number: int | None = None  # in the batch
    begun: float = 0.0
    has_begun: bool = False  # to tell its text
    ended: bool = False


def gone() -> ApiError:
    """Make the error for work whose client waits no more."""
    return ApiError(499, "the client has gone, so the work was stopped.", code="cancelled")
