"""Control over what is written, through the server: log-probabilities, biases, JSON, choices, and where it looked."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import openai
import pydantic
import pytest
import t5g
from support.serving import Running, running

TEXT = "httpx is a fully featured HTTP client library for Python 3."
MESSAGES: Any = [{"role": "user", "content": TEXT}]


class Package(pydantic.BaseModel):
    """What a text is about."""

    name: str = pydantic.Field(max_length=8)
    kind: str = pydantic.Field(pattern="^(library|tool)$")
    versions: list[Literal[1, 2, 3]] = pydantic.Field(max_length=2)


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.v1, api_key="none", max_retries=0)


# ---- Log-probabilities ----


def test_logprobs_of_a_completion(server: Running, model: t5g.Model) -> None:
    alone = model.generate(TEXT, logprobs=3)
    found = server.post("/v1/completions", {"prompt": TEXT, "logprobs": 3}).json["choices"][0]["logprobs"]
    np.testing.assert_allclose(found["token_logprobs"], alone.token_logprobs, rtol=1e-12)
    assert len(found["tokens"]) == len(alone.token_ids)
    assert "".join(found["tokens"]).startswith(alone.text)
    assert alone.top_logprobs is not None
    assert [list(top.values()) for top in found["top_logprobs"]] == [list(top.values()) for top in alone.top_logprobs]
    assert found["text_offset"][1] == len(found["tokens"][0])
    assert server.post("/v1/completions", {"prompt": TEXT, "logprobs": 0}).json["choices"][0]["logprobs"]["tokens"]


@pytest.mark.usefixtures("slow_steps")
# Characters of several tokens; ends that are not text; a text that is held back until it is certain.
@pytest.mark.parametrize("path", ["completions", "chat/completions"])
@pytest.mark.parametrize(
    "fields",
    [
        {"logprobs": 3},
        {"logprobs": 0},
        {"logprobs": 1, "temperature": 3.0, "seed": 5, "n": 3, "max_tokens": 40},
        {"logprobs": 2, "choices": ["\N{GRINNING FACE}é日本\N{GRINNING FACE}"]},
        {"logprobs": 2, "num_beams": 2},
        {"logprobs": 1, "stop": ["ient"]},
    ],
)
def test_logprobs_come_with_the_text_of_a_stream(path: str, fields: dict[str, Any], server: Running) -> None:
    body = {"prompt": TEXT, **fields}
    if path != "completions":
        n = body.pop("logprobs")
        body = {"messages": MESSAGES, **body, "logprobs": True, "top_logprobs": n}
        del body["prompt"]
    whole = [choice["logprobs"] for choice in server.post(f"/v1/{path}", body).json["choices"]]
    pieces: list[dict[str, list[Any]]] = [{} for _ in whole]
    n_with_text = 0
    for event in server.post(f"/v1/{path}", body | {"stream": True}).events:
        choice = event["choices"][0]
        text = choice["text"] if path == "completions" else choice["delta"].get("content", "")
        n_with_text += bool(text and choice["logprobs"])
        for name, values in (choice["logprobs"] or {}).items():
            if values is not None:
                pieces[choice["index"]].setdefault(name, []).extend(values)
    assert n_with_text > (0 if "num_beams" in fields or "choices" in fields else 1)
    assert pieces == [{name: value for name, value in one.items() if value is not None} for one in whole]


def test_logprobs_of_a_chat(client: openai.OpenAI, model: t5g.Model) -> None:
    alone = model.generate(TEXT, logprobs=2)
    chat = client.chat.completions.create(model="tiny", messages=MESSAGES, logprobs=True, top_logprobs=2)
    assert chat.choices[0].logprobs is not None
    content = chat.choices[0].logprobs.content
    assert content is not None
    np.testing.assert_allclose([token.logprob for token in content], alone.token_logprobs, rtol=1e-12)
    assert all(len(token.top_logprobs) == 2 for token in content)
    assert bytes(content[0].bytes or b"").decode() == content[0].token


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/completions", {"logprobs": -1}),
        ("/v1/completions", {"logprobs": "x"}),
        ("/v1/chat/completions", {"logprobs": 3}),
        ("/v1/chat/completions", {"top_logprobs": 3}),
        ("/v1/completions", {"logit_bias": 3}),
        ("/v1/completions", {"logit_bias": {"a": 3}}),
        ("/v1/completions", {"logit_bias": {"99999999": 3}}),
        ("/v1/completions", {"logit_bias": {"9": "x"}}),
        ("/v1/completions", {"response_format": {"type": "xml"}}),
        ("/v1/completions", {"response_format": {"type": "json_schema"}}),
        ("/v1/completions", {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "what"}}}}),
        ("/v1/completions", {"choices": []}),
        ("/v1/completions", {"choices": ["a"], "regex": "b"}),
        ("/v1/completions", {"regex": "("}),
        ("/v1/completions", {"allowed_tokens": "f"}),
        ("/v1/attention", {"source": "x"}),
    ],
)
def test_wrong_control(path: str, fields: dict[str, Any], server: Running) -> None:
    own = {"/v1/completions": {"prompt": TEXT}, "/v1/chat/completions": {"messages": MESSAGES}}.get(path, {})
    answer = server.post(path, own | fields)
    assert answer.status == 400, answer.content
    assert answer.error["type"] == "invalid_request_error"


# ---- What may be written ----


def test_biases(server: Running, model: t5g.Model) -> None:
    alone = model.generate(TEXT, max_new_tokens=6)
    biases = {str(token): -100 for token in alone.token_ids[:3]}
    body = {"prompt": TEXT, "max_tokens": 6, "logit_bias": biases, "return_token_ids": True}
    found = server.post("/v1/completions", body).json["choices"][0]["token_ids"]
    assert found == model.generate(TEXT, max_new_tokens=6, logit_bias={int(k): v for k, v in biases.items()}).token_ids
    assert found != alone.token_ids


def test_choices_and_regexes(server: Running) -> None:
    fields = {"prompt": TEXT, "choices": ["a library", "an editor"]}
    assert server.post("/v1/completions", fields).json["choices"][0]["text"] in fields["choices"]
    text = server.post("/v1/completions", {"prompt": TEXT, "regex": "[0-9]{3}x"}).json["choices"][0]["text"]
    assert (text[:3].isdigit(), text[3:]) == (True, "x")


def test_structured_output_with_pydantic(client: openai.OpenAI) -> None:
    pytest.importorskip("llguidance")
    chat = client.chat.completions.parse(
        model="tiny", messages=MESSAGES, response_format=Package, temperature=1, seed=3, max_tokens=400
    )
    found = chat.choices[0].message.parsed
    assert isinstance(found, Package)
    assert found.kind in ("library", "tool")


def test_many_with_constraints_at_once(server: Running) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 2, 3]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}

    def ask(i: int) -> Any:
        body = {"prompt": f"{TEXT} {i}", "temperature": 1, "seed": i, "response_format": form, "stream": i % 2 == 0}
        answer = server.post("/v1/completions", body)
        events = answer.events if i % 2 == 0 else [answer.json]
        return json.loads("".join(event["choices"][0]["text"] for event in events))

    with ThreadPoolExecutor(8) as pool:
        assert all(found["n"] in (1, 2, 3) for found in pool.map(ask, range(16)))


def test_one_that_cannot_go_on_leaves_the_others(server: Running, model: t5g.Model) -> None:
    every = {str(i): -1e30 for i in range(100)}
    bad = {"prompt": TEXT, "suppress_tokens": list(range(model.config.vocab_size))}
    with ThreadPoolExecutor(4) as pool:
        good = [pool.submit(server.post, "/v1/completions", {"prompt": f"{TEXT} {i}"}) for i in range(3)]
        answer = server.post("/v1/completions", bad)
        assert answer.status == 400
        assert answer.error
        for i, one in enumerate(good):
            assert one.result().json["choices"][0]["text"] == model.generate(f"{TEXT} {i}").text
    assert server.post("/v1/completions", {"prompt": TEXT, "logit_bias": every}).status in (200, 400)


# ---- Where it looked ----


def test_attention(server: Running, model: t5g.Model) -> None:
    source = server.post("/v1/sources", {"input": TEXT}).json["id"]
    fields = {"source": source, "max_tokens": 5, "return_token_ids": True, "decoder_prefix": "the"}
    ids = server.post("/v1/completions", fields).json["choices"][0]["token_ids"]
    answer = server.post("/v1/attention", {"source": source, "tokens": ids, "decoder_prefix": "the"}).json
    found = np.frombuffer(base64.b64decode(answer["weights"]), "<f4").reshape(answer["n_target"], answer["n_source"])
    prefix = model.tokenizer.encode("the", add_special_tokens=False)
    np.testing.assert_array_equal(found, model.attention(TEXT, [*prefix, *ids])[len(prefix) :])


def test_attention_after_a_prefix_that_begins_with_the_start_token(server: Running, model: t5g.Model) -> None:
    source = server.post("/v1/sources", {"input": TEXT}).json["id"]
    start = model.config.decoder_start_token_id
    for given, same in (([start], []), ([start, 9, 4], [9, 4])):
        fields: dict[str, Any] = {"source": source, "max_tokens": 3, "return_token_ids": True}
        written = [server.post("/v1/completions", {**fields, "decoder_prefix": p}).json for p in (given, same)]
        assert written[0]["choices"] == written[1]["choices"]
        fields = {"source": source, "tokens": [5, 6, 1]}
        looked = [server.post("/v1/attention", {**fields, "decoder_prefix": p}).json for p in (given, same)]
        assert looked[0] == looked[1]
        found = np.frombuffer(base64.b64decode(looked[0]["weights"]), "<f4").reshape(3, -1)
        np.testing.assert_array_equal(found, model.attention(TEXT, [*same, 5, 6, 1])[len(same) :])


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"tokens": [5] * 5000}, 400, "tokens"),
        ({"tokens": [10**6]}, 400, "tokens"),
        ({"model": "tiny:c"}, 404, "model"),
        ({"adapters": "c"}, 400, "adapters"),
    ],
)
def test_wrong_fields_of_attention(fields: dict[str, Any], status: int, param: str, server: Running) -> None:
    source = server.post("/v1/sources", {"input": TEXT}).json["id"]
    answer = server.post("/v1/attention", {"source": source, "tokens": [5], **fields})
    assert (answer.status, answer.error["param"]) == (status, param)


# ---- Truncation ----


def test_truncation() -> None:
    long = " ".join(["tool"] * 40)
    with t5g.Model(max_source_tokens=20) as short, running(short) as server:
        for how in ("end", "start", "middle"):
            expected = short.generate(long, truncation=how)  # type: ignore[arg-type]
            body = {"prompt": long, "truncation": how, "return_token_ids": True}
            answer = server.post("/v1/completions", body).json
            assert answer["choices"][0]["token_ids"] == expected.token_ids
            assert answer["usage"]["prompt_tokens"] == 20
            assert answer["usage"]["truncated_tokens"] == expected.n_truncated > 0
            last = server.post("/v1/completions", body | {"stream": True, "stream_options": {"include_usage": True}})
            assert last.events[-1]["usage"] == answer["usage"]
            source = server.post("/v1/sources", {"input": long, "truncation": how}).json
            assert (source["n_tokens"], source["n_truncated"]) == (20, expected.n_truncated)
            kept = server.post("/v1/completions", {"source": source["id"], "return_token_ids": True}).json
            assert kept["choices"][0]["token_ids"] == expected.token_ids
            vector = server.post("/v1/embeddings", {"input": long, "truncation": how}).json
            assert vector["data"][0]["embedding"] == short.embed([long], truncation=how)[0].tolist()  # type: ignore[arg-type]
            assert vector["usage"]["truncated_tokens"] == expected.n_truncated
        chat = {"messages": [{"role": "user", "content": long}]}
        said = server.post("/v1/chat/completions", chat | {"truncation": "start"}).json
        assert said["choices"][0]["message"]["content"] == short.generate(long, truncation="start").text
        newer = server.post("/v1/responses", {"input": long, "truncation": "auto"}).json
        assert newer["output"][0]["content"][0]["text"] == said["choices"][0]["message"]["content"]
        for path, wrong in (
            ("/v1/completions", {"prompt": long}),
            ("/v1/responses", {"input": long, "truncation": "disabled"}),
            ("/v1/sources", {"input": long, "truncation": "error"}),
        ):
            refused = server.post(path, wrong)
            assert (refused.status, refused.error["code"]) == (400, "context_length_exceeded")
        for value in ("left", True, 7, ["end"]):
            refused = server.post("/v1/completions", {"prompt": long, "truncation": value})
            assert refused.status == 400
            assert "truncation" in refused.error["message"]
