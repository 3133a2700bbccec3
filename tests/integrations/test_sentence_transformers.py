"""t5g inside sentence-transformers: the vectors are those of embed, and its evaluations take it as any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.adapters import write_adapted
from support.folders import t5gemma_config

torch = pytest.importorskip("torch")
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


IDS = [[2, 17, 40, 99, 31], [2, 250, 3]]
ADAPTERS = [None, [], {}, "a", ["a"], ["a", "b"], {"a": 0.25}, {"b": 2, "a": 1}]


def reopened(module: Any, path: Path) -> Any:
    """Save a module and load it again."""
    path.mkdir()
    module.save(str(path))
    return type(module).load(str(path))


def vectors(module: Any) -> np.ndarray[Any, Any]:
    """Those of texts of ids, since the files here have no tokenizer."""
    longest = max(map(len, IDS))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in IDS])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in IDS])
    found: np.ndarray[Any, Any] = module({"input_ids": ids, "attention_mask": mask})["sentence_embedding"].numpy()
    return found


def test_adapters_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    from t5g.integrations.sentence_transformers import T5g

    write_adapted(tmp_path, t5gemma_config())
    monkeypatch.chdir(tmp_path)
    seen = set()
    for i, adapters in enumerate(ADAPTERS):
        with t5g.Model("m.gguf") as model:
            model.load_adapter("a.gguf", scale=0.5)
            model.load_adapter("b.gguf", "b")
            module = T5g(model, adapters=adapters)
            found = vectors(module)
            np.testing.assert_array_equal(found, model.embed(IDS, adapters=[adapters] * 2))
            monkeypatch.chdir("/")  # the files were named from another folder
            again = reopened(module, tmp_path / str(i))
            monkeypatch.chdir(tmp_path)
            np.testing.assert_array_equal(vectors(again), found)
            twice = reopened(again, tmp_path / f"{i} again")
            np.testing.assert_array_equal(vectors(twice), found)
            seen.add(found.tobytes())
    assert len(seen) == 5
    with t5g.Model("m.gguf") as model, pytest.raises(t5g.InvalidArgumentError, match="adapters: 'a' is not loaded"):
        T5g(model, adapters="a").save(str(tmp_path))


def test_an_adapter_that_was_taken_away_is_not_saved(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from t5g.integrations.sentence_transformers import T5g

    write_adapted(tmp_path, t5gemma_config())
    with t5g.Model(tmp_path / "m.gguf") as model:
        model.load_adapter(tmp_path / "a.gguf", "x")
        model.unload_adapter("x")
        assert T5g(model).adapter_files == {}
        model.load_adapter(tmp_path / "b.gguf", "x", 2)
        assert T5g(model).adapter_files == {"x": [str(tmp_path / "b.gguf"), 2.0]}


def test_options_of_the_model(tmp_path: Path) -> None:
    from t5g.integrations.sentence_transformers import T5g, load

    with t5g.Model(max_source_tokens=4) as model:
        assert load(model).max_seq_length == 4
        again = reopened(T5g(model), tmp_path / "saved")
        assert again.max_seq_length == 4
        with pytest.raises(t5g.InputTooLongError):
            load(again.t5g).encode(["a tool " * 9])
        with pytest.raises(t5g.InvalidArgumentError, match="model_options"):
            T5g(model, model_options={"max_source_tokens": 5})
    assert T5g(model_options={"encoder_window": "inclusive"}).model_options == {"encoder_window": "inclusive"}
    assert T5g().model_options == {}
