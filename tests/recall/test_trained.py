"""The measurement tells a model that finds from one that does not (tools/train_recall made the file)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import t5g
from t5g.recall import Report, Settings, measure

FILE = Path(__file__).parents[1] / "data" / "recall.gguf"


@pytest.fixture(scope="module")
def model() -> Iterator[t5g.Model]:
    with t5g.Model(FILE) as model:
        yield model


def found(model: t5g.Model, task: str) -> Report:
    return measure(model, Settings(task=task, lengths=(256, 1024), n_depths=3, n_samples=2))


def test_a_model_that_was_trained_on_one_needle_finds_it(model: t5g.Model) -> None:
    report = found(model, "single")
    assert report.effective_length == {"choice": 1024, "generate": 1024}
    assert report.ruler_length == {"choice": 1024, "generate": 1024}


def test_it_does_not_find_the_right_one_of_eight(model: t5g.Model) -> None:
    report = found(model, "multikey")
    assert report.effective_length["choice"] == 0
    assert report.ruler_length == {"choice": 0, "generate": 0}


def test_latent_sources_and_small_types_find_it_too(tmp_path: Path) -> None:
    for kv_type in ("f16", "q8_0"):
        with t5g.Model(FILE, source_cache="latent", kv_type=kv_type) as model:  # type: ignore[arg-type]
            assert found(model, "single").effective_length == {"choice": 1024, "generate": 1024}
