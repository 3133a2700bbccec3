"""t5g inside sentence-transformers: the vectors are those of embed, and its evaluations take it as any model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import t5g

pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers")
pytestmark = pytest.mark.oracle

TEXTS = ["a library for HTTP", "a game with cards", "the HTTP client library", "documentation", ""]


def test_vectors_are_those_of_embed() -> None:
    from t5g.integrations.sentence_transformers import T5g, load

    with t5g.Model() as model:
        expected = model.embed(TEXTS)
        found = load(model).encode(TEXTS, batch_size=2)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.shape == (5, model.config.encoder.hidden_size)
        prompted = load(model).encode(TEXTS[:2], prompt="query: ")
        np.testing.assert_allclose(prompted, model.embed([f"query: {text}" for text in TEXTS[:2]]), atol=1e-6)
        first = sentence_transformers.SentenceTransformer(modules=[T5g(model, pooling="first", normalize=False)])
        np.testing.assert_allclose(first.encode(TEXTS), model.embed(TEXTS, pooling="first", normalize=False), atol=1e-5)
        assert float(load(model).similarity(found[:1], found[:1])[0, 0]) == pytest.approx(1, abs=1e-5)


def test_its_evaluation_runs() -> None:
    from t5g.integrations.sentence_transformers import load

    try:
        from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
    except ImportError:
        from sentence_transformers.evaluation import EmbeddingSimilarityEvaluator

    evaluator = EmbeddingSimilarityEvaluator(TEXTS[:4], [TEXTS[2], TEXTS[1], TEXTS[0], TEXTS[1]], [0.9, 1.0, 0.9, 0.1])
    result = evaluator(load())
    assert all(np.isfinite(list(result.values())))


def test_a_saved_one_is_found_again(tmp_path: Path) -> None:
    from t5g.integrations.sentence_transformers import load

    model = load(pooling="max")
    model.save(str(tmp_path / "saved"))
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))
