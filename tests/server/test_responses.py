"""POST /v1/responses: nothing that a request asks for is overlooked, and errors have its own names."""

from __future__ import annotations

import json
from typing import Any

import pytest
import t5g
from support.serving import Running

TEXT = "httpx is a fully featured HTTP client library for Python 3."
OBJECT = {"type": "json_object"}


def respond(server: Running, **fields: Any) -> Any:
    """Ask for a response, which has to succeed."""
    answer = server.post("/v1/responses", {"input": TEXT, **fields})
    assert answer.status == 200, answer.content
    return answer.json


def text_of(response: Any) -> str:
    text: str = response["output"][0]["content"][0]["text"]
    return text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"text": 3}, "text"),
        ({"text": {"format": "json_object"}}, "text.format"),
        ({"text": {"formt": OBJECT}}, "text.formt"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {}}}, "text.format"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": OBJECT | {"schema": {}}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": 3}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": 7}}}}, "text.format"),
        ({"text": {"format": {"type": "text"}}, "response_format": OBJECT}, "text.format"),
        ({"text": {"format": OBJECT}, "json_schema": {}}, "text.format"),
        ({"response_format": OBJECT | {"json_schema": {"schema": {}}}}, "response_format.json_schema"),
        ({"max_output_tokens": 3, "max_tokens": 5}, "max_tokens"),
        ({"max_output_tokens": 3, "max_new_tokens": 5}, "max_output_tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"return_token_ids": True}, "return_token_ids"),
        ({"stream_options": {"include_usage": False}}, "stream_options.include_usage"),
        ({"stream_options": {"include_usge": True}}, "stream_options.include_usge"),
        ({"num_return_sequences": 2, "temperature": 1}, "num_return_sequences"),
        ({"alternatives": 2}, "alternatives"),
        ({"n": 2, "temperature": 1}, "n"),
        ({"metadata": "abc"}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"input": [1, 2]}, "input"),
        ({"input": [5] * 5000}, "input"),
        ({"input": "\ud800"}, "input"),
        ({"instructions": 7}, "instructions"),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_is_named(fields: dict[str, Any], param: str, stream: bool, server: Running) -> None:
    answer = server.post("/v1/responses", {"input": TEXT, "stream": stream, **fields})
    assert (answer.status, answer.error["param"]) == (400, param)


def test_all_names_of_the_limit(server: Running, model: t5g.Model) -> None:
    expected = model.generate(TEXT, max_new_tokens=3).text
    for name in ("max_output_tokens", "max_tokens", "max_completion_tokens", "max_new_tokens"):
        assert text_of(respond(server, **{"max_output_tokens": None, name: 3})) == expected


def test_the_form_of_a_text(server: Running) -> None:
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"n": {"enum": [1]}}, "required": ["n"], "additionalProperties": False}
    form = {"type": "json_schema", "name": "n", "strict": True, "description": "a number", "schema": schema}
    in_chats = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    for fields in ({"text": {"format": form, "verbosity": "medium"}}, {"response_format": in_chats}):
        assert json.loads(text_of(respond(server, **fields))) == {"n": 1}
    assert text_of(respond(server, text={"format": {"type": "text"}})) == text_of(respond(server, text={}))


def test_fields_that_ask_for_nothing(server: Running) -> None:
    neutral = {
        "logprobs": False,
        "top_logprobs": 0,
        "return_token_ids": False,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
    }
    metadata = {"who": "me"}
    found = respond(server, **neutral, metadata=metadata)
    assert found["metadata"] == metadata
    assert text_of(found) == text_of(respond(server))


@pytest.mark.parametrize(
    ("fields", "beginning"),
    [
        ({"input": [1, 2]}, "input[0]: must be a dict"),
        ({"input": [{"role": "user", "content": "x"}, "y"], "instructions": "Be brief."}, "input[1]: must be a dict"),
        ({"input": [{"role": "user", "content": ["x", 7]}]}, "input[0].content[1]: must be a str"),
        ({"input": [{"role": "assistant", "content": "x"}]}, "input: none has the role"),
        ({"input": "tool " * 5000}, "input has"),
    ],
    ids=str,
)
def test_places_in_messages(fields: dict[str, Any], beginning: str, server: Running) -> None:
    message = server.post("/v1/responses", fields).error["message"]
    assert message.startswith(beginning)


@pytest.mark.parametrize(
    ("last", "place"),
    [
        ("y", "[2]: must be a dict"),
        ({"role": "user", "content": ["x", 7]}, "[2]: content[1]: must be a str"),
        ({"role": "user", "content": ["x", {"type": "image_url"}]}, "[2].content[1]: is an image, but a conversation"),
    ],
    ids=str,
)
def test_places_in_conversations_for_a_template(
    last: Any, place: str, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(t5g.Model, "has_chat_template", True)  # nothing comes as far as the template
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}, last]
    for path, field in (("/v1/chat/completions", "messages"), ("/v1/responses", "input")):
        message = server.post(path, {field: messages}).error["message"]
        assert message.startswith(field + place)
        assert "generate(" not in message
