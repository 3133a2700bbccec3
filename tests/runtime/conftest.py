"""Tiny models of both families, made for the goldens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import t5g

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture(scope="session", params=["v1-wide-encoder", "v2-gqa-w5"])
def tiny_path(request: pytest.FixtureRequest) -> Path:
    return GOLDENS / f"{request.param}.gguf"


@pytest.fixture(scope="session")
def other_path(tiny_path: Path) -> Path:
    """A model of the same family."""
    return GOLDENS / ("v1-no-softcap.gguf" if tiny_path.name.startswith("v1") else "v2-mqa-w4.gguf")


@pytest.fixture(scope="session")
def tiny_model(tiny_path: Path) -> Iterator[t5g.Model]:
    with t5g.Model(tiny_path) as model:
        yield model
