"""Adapters of a served model: named behind the model or in a field, mixed in one batch, remembered by kept sources."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import t5g
from support.adapters import write_adapted
from support.folders import t5gemma_config
from support.serving import Running, running

pytest.importorskip("gguf")

IDS = [2, 17, 40, 99, 31, 250, 3, 12]
# What a request has, and what `adapters=` is in Python.
CHOICES: list[tuple[dict[str, Any], Any]] = [
    ({}, None),
    ({"model": "anything"}, None),
    ({"model": "tiny"}, None),
    ({"model": "tiny:a"}, "a"),
    ({"model": "tiny:b"}, "b"),
    ({"adapters": "a"}, "a"),
    ({"adapters": []}, []),
    ({"adapters": {"a": 0.25, "b": 2}}, {"a": 0.25, "b": 2.0}),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[t5g.Model]:
    path = write_adapted(tmp_path_factory.mktemp("adapters"), t5gemma_config())
    with t5g.Model(path / "m.gguf") as model:
        for name in "ab":
            model.load_adapter(path / f"{name}.gguf", name)
        yield model


@pytest.fixture(scope="module")
def served(model: t5g.Model) -> Iterator[Running]:
    with running(model) as server:
        yield server


def body(fields: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": IDS, "max_tokens": 6, "min_new_tokens": 6, "return_token_ids": True, **fields}


def written(model: t5g.Model, adapters: Any) -> list[int]:
    return model.generate(IDS, max_new_tokens=6, min_new_tokens=6, adapters=adapters).token_ids


def test_requests_with_different_adapters_at_once(served: Running, model: t5g.Model) -> None:
    expected = [written(model, adapters) for _, adapters in CHOICES]
    assert len({tuple(ids) for ids in expected}) > 3
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda fields: served.post("/v1/completions", body(fields)), [f for f, _ in CHOICES * 3])]
    assert [answer.json["choices"][0]["token_ids"] for answer in answers] == expected * 3


def test_kept_sources_and_vectors(served: Running, model: t5g.Model) -> None:
    for fields, adapters in CHOICES:
        source = served.post("/v1/sources", {"input": IDS, **fields}).json["id"]
        found = served.post("/v1/completions", body({"source": source, "prompt": None})).json
        assert found["choices"][0]["token_ids"] == written(model, adapters)
        vector = served.post("/v1/embeddings", {"input": IDS, **fields}).json["data"][0]["embedding"]
        assert vector == model.embed([IDS], adapters=adapters)[0].tolist()
    source = served.post("/v1/sources", {"input": IDS, "adapters": "a"}).json["id"]
    refused = served.post("/v1/completions", body({"source": source, "prompt": None, "model": "tiny:b"}))
    assert refused.status == 400
    assert "adapter" in refused.error["message"]
    assert refused.error["param"] == "source"
    look = {"source": source, "tokens": [5]}
    assert served.post("/v1/attention", {**look, "model": "tiny:a"}).status == 200
    assert served.post("/v1/attention", {**look, "model": "tiny:b"}).status == 400


def test_what_there_is_and_what_is_not(served: Running) -> None:
    listed = served.get("/v1/models").json["data"]
    assert [(one["id"], one.get("parent")) for one in listed] == [
        ("tiny", None),
        ("tiny:a", "tiny"),
        ("tiny:b", "tiny"),
    ]
    assert served.get("/v1/models/tiny:b").json == listed[2]
    assert served.get("/v1/models/tiny:c").error["code"] == "model_not_found"
    missing = served.post("/v1/completions", body({"model": "tiny:c"}))
    assert (missing.status, missing.error["code"], missing.error["param"]) == (404, "model_not_found", "model")
    for wrong in ({"adapters": "c"}, {"adapters": 7}, {"adapters": {"a": "x"}}, {"adapters": "a", "model": "tiny:a"}):
        answer = served.post("/v1/completions", body(wrong))
        assert (answer.status, "adapter" in answer.error["message"]) == (400, True)


def test_errors_say_what_a_client_can_do(served: Running) -> None:
    for path, fields in (("/v1/completions", {"prompt": IDS}), ("/v1/embeddings", {"input": IDS})):
        for wrong in ("c", ["a", "c"], {"c": 1}):
            error = served.post(path, {**fields, "adapters": wrong}).error
            assert error["param"] == "adapters"
            assert error["message"].startswith("adapters: there is no adapter 'c' here. GET /v1/models lists")
    with t5g.Model() as model, running(model) as server:
        for fields in ({"adapters": "c"}, {"model": "tiny:c"}):
            message = server.post("/v1/completions", {"prompt": "a", **fields}).error["message"]
            assert message.endswith("This server has none: who starts it gives them with t5g-serve --lora.")
