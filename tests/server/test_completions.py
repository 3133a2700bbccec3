"""POST /v1/completions and /v1/chat/completions: the answers are what the model gives alone, whole or in events."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.serving import Running, running

GOLDENS = Path(__file__).parents[1] / "goldens"
TEXT = "httpx is a fully featured HTTP client library for Python 3."


def complete(server: Running, **fields: Any) -> Any:
    """Ask for a completion, which has to succeed."""
    answer = server.post("/v1/completions", {"prompt": TEXT, **fields})
    assert answer.status == 200, answer.content
    return answer.json


def test_a_completion_is_what_the_model_says(server: Running, model: t5g.Model) -> None:
    alone = model.generate(TEXT)
    answer = complete(server, model="anything")
    assert answer["object"] == "text_completion"
    assert answer["model"] == "tiny"
    assert answer["id"].startswith("cmpl-")
    assert isinstance(answer["created"], int)
    assert answer["choices"] == [
        {"index": 0, "text": alone.text, "logprobs": None, "finish_reason": alone.finish_reason}
    ]
    n_read, n_written = len(model.tokenizer.encode(TEXT)), len(alone.token_ids)
    assert answer["usage"] == {
        "prompt_tokens": n_read,
        "completion_tokens": n_written,
        "total_tokens": n_read + n_written,
    }


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"max_tokens": 3}, {"max_new_tokens": 3}),
        ({"max_new_tokens": 3}, {"max_new_tokens": 3}),
        ({"temperature": 1.0, "seed": 7, "n": 3}, {"temperature": 1.0, "seed": 7, "num_return_sequences": 3}),
        ({"temperature": 0.7, "top_p": 0.8, "top_k": 9, "min_p": 0.01, "seed": 1},) * 2,
        (
            {"num_beams": 3, "length_penalty": 0.5, "n": 2},
            {"num_beams": 3, "length_penalty": 0.5, "num_return_sequences": 2},
        ),
        ({"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "min_new_tokens": 6},) * 2,
        ({"stop": ["lib"]},) * 2,
        ({"stop": "lib"},) * 2,
        ({"decoder_prefix": "the"},) * 2,
        ({"draft": "off"},) * 2,
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_options(
    fields: dict[str, Any], options: dict[str, Any], stream: bool, server: Running, model: t5g.Model
) -> None:
    alone = model.generate(TEXT, **options)
    expected = [(s.text, s.finish_reason, s.token_ids) for s in alone.sequences]
    fields = {"return_token_ids": True, **fields}
    if not stream:
        choices = complete(server, **fields)["choices"]
        assert [c["index"] for c in choices] == [*range(len(expected))]
        assert [(c["text"], c["finish_reason"], c["token_ids"]) for c in choices] == expected
        return
    answer = server.post("/v1/completions", {"prompt": TEXT, "stream": True, **fields})
    assert answer.headers["content-type"].startswith("text/event-stream")
    texts = [""] * len(expected)
    ends: dict[int, Any] = {}
    for event in answer.events:
        (choice,) = event["choices"]
        assert choice["index"] not in ends
        texts[choice["index"]] += choice["text"]
        if choice["finish_reason"] is not None:
            ends[choice["index"]] = (choice["finish_reason"], choice["token_ids"])
    assert [(text, *ends[i]) for i, text in enumerate(texts)] == expected


@pytest.mark.usefixtures("slow_steps")
def test_a_text_comes_in_pieces_with_usage_at_the_end(server: Running, model: t5g.Model) -> None:
    body = {"prompt": TEXT, "stream": True, "stream_options": {"include_usage": True}}
    *events, last = server.post("/v1/completions", body).events
    assert len(events) > 3
    assert all(event["usage"] is None and event["id"] == last["id"] for event in events)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(model.generate(TEXT).token_ids)


@pytest.mark.parametrize("stream", [False, True])
def test_several_prompts_of_every_kind(stream: bool, server: Running, model: t5g.Model) -> None:
    ids = model.tokenizer.encode("a library")
    for prompt in (["a tool", TEXT, "the editor"], [ids, ids[:2]], ids, ["a tool", ids]):
        several = [prompt] if prompt is ids else prompt
        expected = [model.generate(source, max_new_tokens=5).text for source in several]
        answer = server.post("/v1/completions", {"prompt": prompt, "max_tokens": 5, "stream": stream})
        texts = [""] * len(several)
        for event in answer.events if stream else [answer.json]:
            for choice in event["choices"]:
                texts[choice["index"]] += choice["text"]
        assert texts == expected


def test_no_tokens_at_all_are_a_source_too(server: Running, model: t5g.Model) -> None:
    answer = server.post("/v1/completions", {"prompt": [[]], "max_tokens": 4})
    assert answer.json["choices"][0]["text"] == model.generate([], max_new_tokens=4).text


def test_many_at_once_get_what_each_would_get_alone(server: Running, model: t5g.Model) -> None:
    jobs: list[dict[str, Any]] = [
        {"prompt": f"{TEXT} {'It is good. ' * (i % 7)}{i}", "max_tokens": 3 + i % 11, "return_token_ids": True}
        | ({"temperature": 0.9, "seed": i} if i % 3 == 1 else {})
        | ({"num_beams": 2} if i % 6 == 5 else {})
        for i in range(40)
    ]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda job: server.post("/v1/completions", job).json, jobs))
    names = {"max_tokens": "max_new_tokens"}
    for job, answer in zip(jobs, answers, strict=True):
        options = {names.get(k, k): v for k, v in job.items() if k not in ("prompt", "return_token_ids")}
        alone = model.generate(job["prompt"], **options)
        (choice,) = answer["choices"]
        assert (choice["text"], choice["token_ids"]) == (alone.text, alone.token_ids)


# ---- Chats ----


def test_the_last_text_of_the_user_is_the_source_where_there_is_no_template(server: Running, model: t5g.Model) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "something else"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": TEXT}]},
    ]
    answer = server.post("/v1/chat/completions", {"model": "t", "messages": messages, "max_completion_tokens": 5}).json
    alone = model.generate(TEXT, max_new_tokens=5)
    assert answer["object"] == "chat.completion"
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": alone.text, "refusal": None}
    assert choice["finish_reason"] == alone.finish_reason


def test_a_chat_in_events(server: Running, model: t5g.Model) -> None:
    body = {"messages": [{"role": "user", "content": TEXT}], "stream": True}
    first, *events = server.post("/v1/chat/completions", body).events
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == model.generate(TEXT).text
    assert events[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}


def data_uri(pixels: np.ndarray[Any, Any]) -> str:
    """Make a PNG of an array."""
    image = pytest.importorskip("PIL.Image").fromarray(pixels)
    out = io.BytesIO()
    image.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def test_images_as_data_uris() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    uri = data_uri(pixels)
    with t5g.Model(GOLDENS / "v2-images.gguf") as model, running(model, max_images=2) as server:
        expected = model.generate("so <start_of_image>what", images=pixels, max_new_tokens=5).token_ids
        fields = {"max_tokens": 5, "return_token_ids": True}
        answer = server.post("/v1/completions", {"prompt": "so <start_of_image>what", "images": [uri], **fields})
        assert answer.json["choices"][0]["token_ids"] == expected
        parts = [{"type": "text", "text": "so "}, {"type": "image_url", "image_url": {"url": uri}}, "what"]
        messages = [{"role": "user", "content": parts}]
        answer = server.post("/v1/chat/completions", {"messages": messages, **fields})
        assert answer.json["choices"][0]["token_ids"] == expected
        for wrong in ("/etc/passwd", "http://127.0.0.1/x.png", "file:///etc/passwd", "data:image/png;base64,AAAA", 7):
            answer = server.post("/v1/completions", {"prompt": "<start_of_image>", "images": [wrong]})
            assert answer.status == 400
            assert "passwd" not in answer.error["message"] or "data URIs" in answer.error["message"]
        assert server.post("/v1/completions", {"prompt": "", "images": [uri] * 3}).status == 400
        damaged = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        for path, body, param in (
            ("/v1/completions", {"prompt": "", "images": [damaged["image_url"]["url"]]}, "images"),
            ("/v1/sources", {"images": [uri, damaged["image_url"]["url"]]}, "images"),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": [damaged]}]}, "messages[0].content"),
        ):
            error = server.post(path, body).error
            assert (error["param"], error["message"].partition(":")[0]) == (param, param)
            assert "not an image, expected one of PNG" in error["message"]
        error = server.post("/v1/completions", {"prompt": "<start_of_image>" * 2, "images": [uri]}).error
        assert (error["param"], error["message"][:20]) == ("prompt", "prompt: the text has")


# ---- What is wrong ----


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [True, "a"]}, "prompt[0]"),
        ({"prompt": [10**9]}, None),
        ({"prompt": "\ud800"}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 3, "max_new_tokens": 4}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"seed": -1}, None),
        ({"seed": 10**400}, None),
        ({"n": 2}, None),
        ({"n": 1000, "temperature": 1}, "n"),
        ({"num_beams": 100}, "n"),
        ({"stop": ""}, "stop"),
        ({"stop": [7]}, None),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": 3}, "stream_options"),
        ({"stream_options": {"include_usge": True}}, "stream_options.include_usge"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"response_format": "json_object"}, "response_format"),
        ({"response_format": {"type": "text", "json_schema": {}}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schma": {}}}},
            "response_format.json_schema.schma",
        ),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 1e9}, "timeout"),
        ({"echo": True}, "echo"),
        ({"suffix": "s"}, "suffix"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"tools": [{}]}, "tools"),
        ({"images": ["data:image/png;base64,AAAA"]}, None),
        ({"images": "data:"}, "images"),
        ({"no_such": 1}, "no_such"),
        ({"source": "src-7"}, "prompt"),
        ({"prompt": None, "source": "src-7"}, "source"),
        ({"decoder_prefix": {}}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_wrong_fields_are_named(fields: dict[str, Any], param: str | None, stream: bool, server: Running) -> None:
    answer = server.post("/v1/completions", {"prompt": TEXT, "stream": stream, **fields})
    assert answer.status == (404 if fields.get("source") and "prompt" in fields else 400), answer.content
    error = answer.error
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param
    assert "new_tokens" not in error["message"] or "max_new_tokens" in fields


def test_a_source_that_is_too_long(server: Running, model: t5g.Model) -> None:
    limit = model.config.encoder.max_position_embeddings
    answer = server.post("/v1/completions", {"prompt": [5] * (limit + 1)})
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    message = answer.error["message"]
    assert str(limit) in message.replace(",", "")
    assert answer.error["param"] == "prompt"
    # What a client can give, and what only who has started the server can.
    assert "cut it with truncation; nothing" in message
    assert "with t5g-serve --max-source-tokens sets another limit" in message


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"a"', b"\xff", b'{"prompt": NaN}', b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}", b"null"],
)
def test_bodies_that_are_no_json(body: bytes, server: Running) -> None:
    answer = server.send("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    assert answer.status == 400
    assert answer.error["code"] == "invalid_json"


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" + b"0" * 400 + b".5"])
@pytest.mark.parametrize("field", [b'"metadata": {"a": %s}', b'"temperature": %s', b'"logit_bias": {"5": %s}'])
def test_numbers_beyond_floats(number: bytes, field: bytes, server: Running) -> None:
    for path, source in (("/v1/completions", b"prompt"), ("/v1/responses", b"input")):
        body = b'{"%s": "a tool", %s}' % (source, field % number)
        answer = server.send("POST", path, body, {"Content-Type": "application/json"})
        assert (answer.status, answer.error["code"]) == (400, "invalid_json")
        assert number[:5].decode() in answer.error["message"]


def test_other_types_methods_and_paths(server: Running) -> None:
    assert (
        server.send("POST", "/v1/completions", b"prompt=a", {"Content-Type": "text/plain"}).error["code"]
        == "wrong_type"
    )
    for method, path, status in [
        ("GET", "/v1/completions", 405),
        ("GET", "/nothing", 404),
        ("GET", "/page/../app.py", 404),
    ]:
        answer = server.send(method, path)
        assert answer.status == status
        assert answer.error["type"] == "invalid_request_error"
    assert server.get("/v1/models/other").error["code"] == "model_not_found"


@pytest.mark.parametrize(
    "messages", [None, [], "hello", [7], [{"role": "assistant", "content": "x"}], [{"role": "user"}]]
)
def test_messages_that_hold_no_source(messages: Any, server: Running) -> None:
    answer = server.post("/v1/chat/completions", {"messages": messages})
    assert answer.status == 400
    assert answer.error["message"].startswith("messages")


@pytest.mark.parametrize(
    ("messages", "beginning"),
    [
        ([{"role": "user", "content": "x"}, "y"], "messages[1]: must be a dict"),
        (["y", {"role": "user", "content": "x"}], "messages[0]: must be a dict"),
        ([{"role": "user", "content": ["x", 7]}], "messages[0].content[1]: must be a str"),
        ([{"role": "user", "content": ["x", {"type": "audio"}]}], "messages[0].content[1]: has the type 'audio'"),
    ],
    ids=str,
)
def test_messages_that_are_wrong_have_their_numbers(messages: Any, beginning: str, server: Running) -> None:
    for path, fields in (("/v1/chat/completions", {"messages": messages}), ("/v1/sources", {"messages": messages})):
        error = server.post(path, fields).error
        assert error["message"].startswith(beginning)


def test_a_number_of_log_probabilities_has_its_own_name(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": TEXT}], "logprobs": True}
    for wrong in (2.0, -1, 10**6):
        error = server.post("/v1/chat/completions", body | {"top_logprobs": wrong}).error
        assert (error["param"], error["message"].partition(":")[0]) == ("top_logprobs", "top_logprobs")


def test_a_name_that_is_nearly_right(server: Running) -> None:
    answer = server.post("/v1/completions", {"prompt": TEXT, "temprature": 1})
    assert "Did you mean temperature?" in answer.error["message"]


def test_models(server: Running) -> None:
    (model,) = server.get("/v1/models").json["data"]
    assert (model["id"], model["object"]) == ("tiny", "model")
    assert server.get("/v1/models/tiny").json == model
    json.dumps(model)
