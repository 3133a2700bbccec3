"""Vectors of texts: sources packed into passes of the encoder, and what is made of the hidden states of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from t5g import _core
from t5g.errors import InvalidArgumentError
from t5g.messages import about

if TYPE_CHECKING:
    from t5g.sources import Request

Rows: TypeAlias = "npt.NDArray[np.float32]"

POOLINGS = ("mean", "first", "last", "max", "none")
# Tokens of a pass: so many keep all cores busy, and hidden states of them take some megabytes.
_MAX_TOKENS = 8192


def states(native: _core.Model, requests: Sequence[Request], *, batch_size: int, layer: int) -> Iterator[Rows]:
    """Yield the hidden states [n_tokens, hidden_size] of every source, in order.

    batch_size: sources of a pass at most.
    """
    for batch in _batches(requests, batch_size):
        unread = [request for request in batch if isinstance(request, tuple)]
        encoded = iter(native.encode_batch(unread, layer) if unread else [])
        for request in batch:
            source = next(encoded) if isinstance(request, tuple) else request
            yield source.hidden_states[: source.n_tokens]  # padding comes last


def check_layers(name: str, requests: Sequence[Request], layer: int) -> None:
    """Refuse a source that was encoded with another layer; -1 are the final states."""
    for i, request in enumerate(requests):
        if not isinstance(request, tuple) and request.layer != layer:
            made, asked = (
                "the final hidden states" if n < 0 else f"those of layer={n}" for n in (request.layer, layer)
            )
            raise about(
                InvalidArgumentError,
                f"{name}[{i}]",
                f"is an encoded source that has {made}, and {asked} are asked for. Give the text, or the same layer=.",
            )


def _batches(requests: Sequence[Request], batch_size: int) -> Iterator[list[Request]]:
    batch: list[Request] = []
    n_tokens = 0
    for request in requests:
        n = len(request[0]) if isinstance(request, tuple) else 0
        if batch and (len(batch) >= batch_size or n_tokens + n > _MAX_TOKENS):
            yield batch
            batch, n_tokens = [], 0
        batch.append(request)
        n_tokens += n
    if batch:
        yield batch


def pool(rows: Rows, pooling: str) -> Rows:
    """Make one vector of hidden states [n_tokens, hidden_size]; of none at all, zeros."""
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32)
    pooled: Rows
    if pooling in ("first", "last"):
        pooled = rows[0 if pooling == "first" else -1]
    else:
        pooled = rows.max(axis=0) if pooling == "max" else rows.mean(axis=0)
    return pooled


def unit_rows(rows: Rows) -> Rows:
    """Scale every row to length 1; zero rows stay zero."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return (rows / np.where(norms > 0, norms, 1)).astype(np.float32, copy=False)
