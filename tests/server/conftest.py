"""One server for the tests that change nothing about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import t5g
from support.serving import Running, running


@pytest.fixture(scope="session")
def model() -> Iterator[t5g.Model]:
    with t5g.Model() as model:
        yield model


@pytest.fixture(scope="session")
def server(model: t5g.Model) -> Iterator[Running]:
    with running(model) as server:
        yield server
