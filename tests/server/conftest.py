"""One server for the tests that change nothing about it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import t5g
from support.serving import Running, running
from t5g.server.batch import Batch


@pytest.fixture(scope="session")
def model() -> Iterator[t5g.Model]:
    with t5g.Model() as model:
        yield model


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step take 10 ms more: texts then come in pieces, however small the model and busy the machine is."""
    step = Batch._step

    def slow(batch: Batch) -> None:
        time.sleep(0.01)
        step(batch)

    monkeypatch.setattr(Batch, "_step", slow)


@pytest.fixture(scope="session")
def server(model: t5g.Model) -> Iterator[Running]:
    with running(model) as server:
        yield server
