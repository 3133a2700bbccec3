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
from support.serving import Running

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


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_of_a_completion(stream: bool, server: Running, model: t5g.Model) -> None:
    alone = model.generate(TEXT, logprobs=3)
    answer = server.post("/v1/completions", {"prompt": TEXT, "logprobs": 3, "stream": stream})
    found = (answer.events[-1] if stream else answer.json)["choices"][0]["logprobs"]
    np.testing.assert_allclose(found["token_logprobs"], alone.token_logprobs, rtol=1e-12)
    assert len(found["tokens"]) == len(alone.token_ids)
    assert "".join(found["tokens"]).startswith(alone.text)
    assert alone.top_logprobs is not None
    assert [list(top.values()) for top in found["top_logprobs"]] == [list(top.values()) for top in alone.top_logprobs]
    assert found["text_offset"][1] == len(found["tokens"][0])
    assert server.post("/v1/completions", {"prompt": TEXT, "logprobs": 0}).json["choices"][0]["logprobs"]["tokens"]


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
