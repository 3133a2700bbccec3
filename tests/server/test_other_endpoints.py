"""Embeddings, kept sources, tokens."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import t5g
from support.serving import Running, as_uri, pdf, running, wait_until

TEXT = "httpx is a fully featured HTTP client library for Python 3."


# ---- Embeddings ----


@pytest.mark.parametrize("form", ["float", "base64", None])
def test_embeddings(form: str | None, server: Running, model: t5g.Model) -> None:
    ids = model.tokenizer.encode("the editor")
    for given in ("a tool", ["a tool", TEXT], ids, [ids, ids[:3]]):
        several: Any = [given] if given is ids or isinstance(given, str) else given
        answer = server.post("/v1/embeddings", {"input": given, "encoding_format": form, "model": "x"}).json
        assert [item["index"] for item in answer["data"]] == [*range(len(several))]
        found = [item["embedding"] for item in answer["data"]]
        if form == "base64":
            found = [np.frombuffer(base64.b64decode(text), "<f4") for text in found]
        np.testing.assert_array_equal(np.asarray(found, np.float32), model.embed(several))
        n = sum(model.encode(source).n_tokens for source in several)
        assert answer["usage"] == {"prompt_tokens": n, "total_tokens": n}


@pytest.mark.parametrize(
    "fields",
    [
        {"input": None},
        {"input": 7},
        {"input": []},
        {"input": ["a"] * 2049},
        {"input": "a", "dimensions": 3},
        {"input": "a", "encoding_format": "int8"},
        {"input": "a", "x": 1},
    ],
    ids=lambda fields: ",".join(fields),
)
def test_wrong_embeddings(fields: dict[str, Any], server: Running) -> None:
    answer = server.post("/v1/embeddings", fields)
    assert answer.status == 400
    assert answer.error["param"]


# ---- Sources ----


def test_a_source_is_read_once_and_asked_about_often(server: Running, model: t5g.Model) -> None:
    made = server.post("/v1/sources", {"input": TEXT, "with_pieces": True}).json
    assert made["n_tokens"] == len(made["pieces"]) == model.encode(TEXT).n_tokens
    assert made["expires_at"] > made["created"]
    for prefix in (None, "the"):
        fields = {"source": made["id"], "decoder_prefix": prefix, "max_tokens": 6}
        answer = server.post("/v1/completions", fields).json
        assert answer["choices"][0]["text"] == model.generate(TEXT, decoder_prefix=prefix, max_new_tokens=6).text
        assert answer["usage"]["prompt_tokens"] == made["n_tokens"]
    assert made["id"] in [source["id"] for source in server.get("/v1/sources").json["data"]]
    assert server.get(f"/v1/sources/{made['id']}").json["n_tokens"] == made["n_tokens"]
    assert server.send("DELETE", f"/v1/sources/{made['id']}").json["deleted"]
    assert server.get(f"/v1/sources/{made['id']}").error["code"] == "source_not_found"
    assert server.post("/v1/completions", {"source": made["id"]}).status == 404


def test_sources_expire_and_make_room(model: t5g.Model) -> None:
    n = model.encode(TEXT).n_tokens
    size = n * (4 * model.config.encoder.hidden_size + 8) + 1024
    with running(model, source_seconds=1.0, source_bytes=2 * size + 10) as server:
        first, second, third = (server.post("/v1/sources", {"input": TEXT}).json["id"] for _ in range(3))
        assert server.get(f"/v1/sources/{first}").status == 404
        assert server.get(f"/v1/sources/{second}").status == server.get(f"/v1/sources/{third}").status == 200
        too_large = server.post("/v1/sources", {"input": TEXT * 4})
        assert "bytes" in too_large.error["message"]
        wait_until(lambda: server.get("/v1/sources").json["data"] == [])


def test_a_pdf(server: Running, model: t5g.Model) -> None:
    pytest.importorskip("pypdf")
    made = server.post("/v1/sources", {"file": as_uri("application/pdf", pdf("A tool for the text."))}).json
    assert made["text"] == "A tool for the text."
    assert made["n_tokens"] == model.encode(made["text"]).n_tokens
    for wrong in (
        "/etc/passwd",
        as_uri("text/plain", b"a"),
        as_uri("application/pdf", b"%PDF-1.4 nothing"),
        "data:application/pdf;base64,%%",
    ):
        answer = server.post("/v1/sources", {"file": wrong})
        assert (answer.status, answer.error["param"]) == (400, "file")


@pytest.mark.parametrize(
    "fields", [{}, {"input": "a", "file": "b"}, {"input": ["a", "b"]}, {"input": 1}, {"messages": []}, {"messages": 3}]
)
def test_wrong_sources(fields: dict[str, Any], server: Running) -> None:
    assert server.post("/v1/sources", fields).error
    assert server.post("/v1/sources", fields).status == 400


# ---- Tokens ----


def test_tokens_and_back(server: Running, model: t5g.Model) -> None:
    text = "Grüße, a tool for 中文 🙂"
    ids = model.tokenizer.encode(text)
    answer = server.post("/tokenize", {"content": text, "with_pieces": True}).json
    assert (answer["tokens"], answer["count"]) == (ids, len(ids))
    assert len(answer["pieces"]) == len(ids)
    assert "".join(answer["pieces"]).endswith(text.split()[-1])
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(answer["pieces"])
    assert server.post("/tokenize", {"content": text, "add_special_tokens": False}).json["tokens"] == ids[1:]
    back = server.post("/detokenize", {"tokens": ids, "skip_special_tokens": True}).json
    assert back["content"] == model.tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"content": 7}),
        ("/tokenize", {"content": "a", "text": "b"}),
        ("/tokenize", {"content": "a", "add_special": True, "add_special_tokens": False}),
        ("/detokenize", {"tokens": "a"}),
        ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": [10**30]}),
        ("/detokenize", {"tokens": [True]}),
    ],
)
def test_wrong_tokens(path: str, fields: dict[str, Any], server: Running) -> None:
    answer = server.post(path, fields)
    assert answer.status == 400
    assert answer.error


@pytest.mark.parametrize(
    ("path", "fields", "param", "message"),
    [
        ("/detokenize", {"tokens": [10**9]}, "tokens", "tokens: token 0 is 1000000000, outside"),
        ("/detokenize", {"tokens": ["a"]}, "tokens", "tokens: token ids must be integers"),
        ("/tokenize", {"content": 7}, "content", "content: must be a str"),
        ("/v1/completions", {"prompt": "a", "truncation": ""}, "truncation", "truncation: must be 'error'"),
        ("/v1/embeddings", {"input": "a", "truncation": "all"}, "truncation", "truncation: must be 'error'"),
        ("/v1/completions", {"prompt": "a", "source": "b"}, "prompt", "prompt: is there beside a source"),
        ("/v1/chat/completions", {"messages": []}, "messages", "must be a list of messages, got an empty one"),
        ("/v1/embeddings", {"input": [5] * 5000}, "input", "input has 5000 tokens, but the model's limit is 4096"),
        ("/v1/embeddings", {"input": [[5], [10**6]]}, "input", "input[1]: token 0 is 1000000, outside"),
        ("/v1/sources", {"input": [5] * 5000}, "input", "input has 5000 tokens, but the model's limit is 4096"),
        ("/v1/sources", {"input": [10**6]}, "input", "input: token 0 is 1000000, outside"),
        (
            "/v1/sources",
            {"messages": [{"role": "user", "content": "a"}], "images": ["data:image/png;base64,AAAA"]},
            "images",
            "images: go with an input or a file",
        ),
    ],
)
def test_errors_name_the_field(path: str, fields: dict[str, Any], param: str, message: str, server: Running) -> None:
    answer = server.post(path, fields)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert message in answer.error["message"]


def test_models_tell_both_limits(server: Running, model: t5g.Model) -> None:
    facts = server.get("/v1/models").json["data"][0]["t5g"]
    limits = (facts["max_source_tokens"], facts["max_target_tokens"])
    assert limits == (model.max_source_tokens, model.max_target_tokens)
