"""The built library, and models to open with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.c_library import Library, find

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture(scope="session")
def lib() -> Library:
    path = find()
    if path is None:
        pytest.skip("libt5g is not built: cmake -S . -B build/release && cmake --build build/release, or T5G_LIBRARY")
    return Library(path)


@pytest.fixture(scope="session", params=["v1-wide-encoder", "v2-images"])
def path(request: pytest.FixtureRequest) -> Path:
    return GOLDENS / f"{request.param}.gguf"


@pytest.fixture
def model(lib: Library, path: Path) -> Iterator[int]:
    model = lib.make("model_open", str(path).encode(), None)
    yield model
    lib.model_free(model)
