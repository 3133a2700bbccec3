"""The measurement tells models that find from ones that do not (tools/train_recall made both files).

Both were trained on one needle in sources of up to 256 tokens. The one goes on finding in longer ones; the other, whose
full attention meets distances there that it has not been trained on, does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import t5g
from t5g.recall import Report, Settings, measure

DATA = Path(__file__).parents[1] / "data"
FILE, SHORT = DATA / "recall.gguf", DATA / "recall_short.gguf"
TRAINED_UP_TO = 256


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


def test_the_effective_length_is_near_that_of_training() -> None:
    with t5g.Model(SHORT) as model:
        report = measure(model, Settings(lengths=(128, 256, 2048, 4096), n_depths=3, n_samples=4))
    for kind, most in (("choice", 60), ("generate", 30)):  # blind choice: 12.5
        scores = {length: sum(of.values()) / len(of) for length, of in report.tables[kind].items()}
        assert min(scores[128], scores[256]) >= 90
        assert max(scores[2048], scores[4096]) <= most
        assert report.effective_length[kind] == report.ruler_length[kind] == TRAINED_UP_TO
